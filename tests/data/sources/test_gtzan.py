"""GTZAN's feature tables: lists, folds, artists, segments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from musicreclass.data.sources import gtzan
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.runs.folder import Run
from tests.conftest import only_run


def test_the_index_holds_the_published_lists():
    facts = gtzan.index()
    assert len(facts) == 1000
    assert facts.fault_filtered.value_counts().to_dict() == {"train": 443, "test": 290, "valid": 197}
    assert facts.artist["reggae.00000"] == "Bob Marley"
    assert (facts.artist == "Bob Marley").sum() == 35
    assert facts.artist.isna().sum() == 81
    lists = facts.dropna().groupby("artist").fault_filtered.nunique()
    assert (lists == 1).all()  # no artist lies in two of the lists


def test_the_index_agrees_with_the_real_lists(real_data):
    facts = gtzan.index().fault_filtered
    for split in ("train", "valid", "test"):
        lines = (real_data / "GTZAN" / "Misc" / "fault_filtered" / f"{split}_filtered.txt").read_text().split()
        assert {line.split("/")[-1].removesuffix(".wav") for line in lines} == set(facts.index[facts == split])


@pytest.mark.parametrize("folds", [3, 5, 9])
def test_folds_share_no_artist_and_every_track_is_tested_once(folds):
    facts = gtzan.index()
    tested = pd.Series(0, index=facts.index)
    for fold in range(folds):
        split = pd.Series(gtzan.own_split(list(facts.index), "artist_folds", fold, folds, 0), index=facts.index)
        assert (split.groupby(facts.artist).nunique() <= 1).all()
        tested += split == "test"
        genres = split.index.str.split(".").str[0]
        assert (pd.crosstab(genres, split)[["test", "train", "valid"]] > 0).all().all()
        following = gtzan.own_split(list(facts.index), "artist_folds", (fold + 1) % folds, folds, 0)
        assert [s == "valid" for s in split] == [s == "test" for s in following]
    assert (tested == 1).all()


def test_a_fold_that_does_not_exist():
    with pytest.raises(DataError, match=r"data\.fold=5: there are folds 0 to 4"):
        gtzan.own_split(["blues.00000"], "artist_folds", 5, 5, 0)


@pytest.fixture
def segments(tmp_path):
    """A table of ten segments a clip, for a few clips of two genres."""
    rng = np.random.default_rng(0)
    facts = gtzan.index()
    clips = [t for t in facts.index if t.startswith(("blues", "metal")) and facts.fault_filtered[t] is not None][::3]
    rows = [
        [f"{c}.{k}.wav", 66149, *(rng.normal(size=8) + 2 * c.startswith("metal")), c.split(".")[0]]
        for c in clips
        for k in range(10)
    ]
    frame = pd.DataFrame(rows, columns=["filename", "length", *(f"f{i}" for i in range(8)), "label"])
    (tmp_path / "Data").mkdir()
    frame.to_csv(tmp_path / "Data" / "features_3_sec.csv", index=False)
    return tmp_path, clips, frame


@pytest.mark.parametrize("protocol", ["fault_filtered", "random", "artist_folds", "grouped"])
def test_segments_stay_with_their_clip(segments, protocol):
    root, clips, frame = segments
    data = gtzan.GTZANFeatures(str(root), {"protocol": protocol}, seconds=3)
    data.setup()
    assert sorted(data.tracks.track_id) == sorted(clips)
    rows = {split: data.arrays(split)[0] for split in ("train", "valid", "test")}
    assert sum(map(len, rows.values())) == len(frame)
    assert not set(rows["train"]) & set(rows["valid"])
    assert all(list(ids).count(i) == 10 for ids in rows.values() for i in set(ids))


def test_a_relative_root_is_found_from_any_working_directory(segments, run, here, monkeypatch):
    words = ["data=gtzan_features", "data.root=.", "data.seconds=3", "data/split=random", "model=logreg"]
    assert run("train", *words).code == 0
    found = Run.open(only_run(here))
    assert found.config["data"]["root"] == str(segments[0])
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    result = run("evaluate", str(found.folder))
    assert result.code == 0, result.err
    assert "test" in found.metrics


def test_segments_are_averaged_per_clip(segments, run, here):
    root, clips, _ = segments
    result = run(
        "train", "data=gtzan_features", f"data.root={root}", "data.seconds=3", "model=logreg", "data/split=random"
    )
    assert result.code == 0, result.err
    found = Run.open(only_run(here))
    table = found.predictions("valid").table
    assert table.track_id.is_unique
    assert found.metrics["valid"]["n"] == len(table) == found.provenance["tracks"]["valid"]
    assert set(table.track_id) < set(clips)


def test_other_tables_are_refused(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"no features_30_sec\.csv under"):
        gtzan.GTZANFeatures(str(tmp_path), {"protocol": "random"}).setup()
    (tmp_path / "features_30_sec.csv").write_text("filename,f,label\nsong.wav,1,blues\n")
    with pytest.raises(DataError, match=r"'song\.wav' is not the name of a GTZAN file"):
        gtzan.GTZANFeatures(str(tmp_path), {"protocol": "random"}).setup()
    (tmp_path / "features_30_sec.csv").write_text("name,f,label\nblues.00000.wav,1,blues\n")
    with pytest.raises(DataError, match="not GTZAN's feature table"):
        gtzan.GTZANFeatures(str(tmp_path), {"protocol": "random"}).setup()


def train(run, real_data, *words):
    result = run("train", "data=gtzan_features", f"data.root={real_data / 'GTZAN'}", "model=logreg", *words)
    assert result.code == 0, result.err
    return result


def test_real_table_under_the_fault_filtered_lists(run, here, real_data):
    result = train(run, real_data, "evaluate=[valid,test]")
    found = Run.open(only_run(here))
    assert "test" not in found.metrics
    assert found.metrics["valid"]["n"] == 197
    assert found.metrics["protocol"] == {
        "split": "fault_filtered", "leaky": "no", "why": ["the artist is unknown for 44 of 640 tracks"],
        "pretraining_overlap": [],
    }  # fmt: skip
    assert found.provenance["dropped"]["outside the fault-filtered lists"] == 70
    assert "test was asked for, but this copy of the data has no test tracks: not scored" in result.out
    evaluated = run("evaluate", str(found.folder))
    assert (evaluated.code, evaluated.lines) == (
        2,
        ["test: this copy of the data has no test tracks; nothing was scored"],
    )


def test_real_table_split_at_random_is_leaky(run, here, real_data):
    result = train(run, real_data, "data/split=random")
    protocol = Run.open(only_run(here)).metrics["protocol"]
    assert protocol["leaky"] == "yes"
    assert "46 of the 59 artists in valid are in train too" in protocol["why"][0]
    assert "leaky" in result.out
    compared = run("compare", "outputs")
    assert "split random: leaky" in compared.out


def test_real_table_in_artist_folds(run, here, real_data):
    train(run, real_data, "data/split=artist_folds", "data.fold=3", "evaluate=[valid,test]")
    assert Run.open(only_run(here)).metrics["protocol"]["leaky"] == "no"
