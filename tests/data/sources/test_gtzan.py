"""GTZAN: its layouts, lists, folds and artists, and its feature tables with segments."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from musicreclass.data.sources import gtzan
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.runs.folder import Run
from tests.conftest import only_run, write_gtzan_segments
from tests.library import RATE, TONES, write_tone


def test_the_index_contains_the_published_lists():
    index = gtzan.load_index()
    assert len(index) == 1000
    assert index.fault_filtered.value_counts().to_dict() == {"train": 443, "test": 290, "valid": 197}
    assert index.artist["reggae.00000"] == "Bob Marley"
    assert (index.artist == "Bob Marley").sum() == 35
    assert index.artist.isna().sum() == 81
    lists = index.dropna().groupby("artist").fault_filtered.nunique()
    assert (lists == 1).all()  # no artist is in two of the lists


def test_the_index_agrees_with_the_real_lists(real_data):
    index = gtzan.load_index().fault_filtered
    for split in ("train", "valid", "test"):
        lines = (real_data / "GTZAN" / "Misc" / "fault_filtered" / f"{split}_filtered.txt").read_text().split()
        assert {line.split("/")[-1].removesuffix(".wav") for line in lines} == set(index.index[index == split])


@pytest.mark.parametrize("folds", [3, 5, 9])
def test_folds_share_no_artist_and_every_track_is_tested_once(folds):
    index = gtzan.load_index()
    tested = pd.Series(0, index=index.index)
    for fold in range(folds):
        split = pd.Series(gtzan.gtzan_splits(list(index.index), "artist_folds", fold, folds, 0), index=index.index)
        assert (split.groupby(index.artist).nunique() <= 1).all()
        tested += split == "test"
        genres = split.index.str.split(".").str[0]
        assert (pd.crosstab(genres, split)[["test", "train", "valid"]] > 0).all().all()
        following = gtzan.gtzan_splits(list(index.index), "artist_folds", (fold + 1) % folds, folds, 0)
        assert [s == "valid" for s in split] == [s == "test" for s in following]
    assert (tested == 1).all()


def test_a_missing_fold_is_rejected():
    with pytest.raises(DataError, match=r"\b0 to 4\b") as caught:
        gtzan.gtzan_splits(["blues.00000"], "artist_folds", 5, 5, 0)
    assert (caught.value.kind, caught.value.key) == ("invalid_fold", "data.fold")


@pytest.fixture
def segments(tmp_path):
    """A table of ten segments per clip, for a few clips of two genres."""
    return tmp_path, *write_gtzan_segments(tmp_path)


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
    overrides = ["data=gtzan_features", "data.root=.", "data.seconds=3", "data/split=random", "model=logreg"]
    assert run("train", *overrides).code == 0
    finished = Run.open(only_run(here))
    assert finished.config["data"]["root"] == str(segments[0])
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    result = run("evaluate", str(finished.folder))
    assert result.code == 0, result.err
    assert "test" in finished.metrics


def test_segments_are_averaged_per_clip(segments, run, here):
    root, clips, _ = segments
    result = run(
        "train", "data=gtzan_features", f"data.root={root}", "data.seconds=3", "model=logreg", "data/split=random"
    )
    assert result.code == 0, result.err
    finished = Run.open(only_run(here))
    table = finished.predictions("valid").table
    assert table.track_id.is_unique
    assert finished.metrics["valid"]["n"] == len(table) == finished.provenance["tracks"]["valid"]
    assert set(table.track_id) < set(clips)


@pytest.mark.parametrize("batch_size", [16, 512])
def test_a_schedule_of_steps_counts_the_segments(segments, run, here, batch_size):
    root, _, frame = segments
    overrides = [f"trainer.batch_size={batch_size}", "trainer.max_epochs=3", "early_stopping=none", "logger=none"]
    result = run("train", "data=gtzan_features", f"data.root={root}", "data.seconds=3", "model=mlp", "scheduler=onecycle",
                 "hardware=cpu", *overrides)  # fmt: skip
    assert result.code == 0, result.err
    history = pd.read_csv(only_run(here) / "history.csv")
    assert len(history) == 3
    data = gtzan.GTZANFeatures(str(root), {"protocol": "fault_filtered"}, seconds=3)
    data.setup()
    assert data.row_count("train") == 10 * data.size("train")
    assert sum(data.row_count(split) for split in ("train", "valid", "test")) == data.row_count("all") == len(frame)
    assert history.lr.iloc[-1] < 1e-3 * history.lr.max()  # the whole schedule was run


def test_missing_and_foreign_tables_are_rejected(tmp_path):
    path = tmp_path / "features_30_sec.csv"

    def problem():
        with pytest.raises(DataError) as caught:
            gtzan.GTZANFeatures(str(tmp_path), {"protocol": "random"}).setup()
        return type(caught.value), caught.value.kind, caught.value.key

    assert problem() == (DatasetNotFoundError, "missing_table", str(tmp_path))
    path.write_text("filename,f,label\nsong.wav,1,blues\n")
    assert problem() == (DataError, "unknown_file_name", str(path))
    path.write_text("name,f,label\nblues.00000.wav,1,blues\n")
    assert problem() == (DataError, "missing_column", str(path))
    path.write_text("filename,f,label\nblues.00000.wav,high,blues\n")
    assert problem() == (DataError, "not_numeric", "f")


@pytest.mark.parametrize(
    "layout",
    ["Data/genres_original", "genres", "genres_original", "GTZAN/genres", ".", "data/Genres_Original", "GTZAN/Data"],
)
def test_the_layouts_of_the_audio(layout, here):
    for genre in ("blues", "jazz"):
        for i in range(4):
            write_tone(here / "g" / layout / genre / f"{genre}.{i:05d}.au", TONES[genre], i)
    (here / "g" / layout / "pop").mkdir()
    (here / "g" / layout / "__MACOSX" / "blues").mkdir(parents=True)
    (here / "g" / layout / "blues" / "._blues.00000.au").write_bytes(b"Mac OS X")
    data = gtzan.GTZAN(
        str(here / "g"), {"protocol": "random", "valid": 0.25, "test": 0.25}, store=str(here / "c"), sample_rate=RATE
    )
    data.setup()
    assert len(data.tracks) == 8
    assert any("pop" in note for note in data.notes)  # empty
    assert any("metal" in note for note in data.notes)  # missing


@pytest.mark.parametrize(("root", "kind", "key"), [(".", "missing_audio", "."), (None, "missing_root", "data.root")])
def test_missing_audio(root, kind, key, here):
    with pytest.raises(DatasetNotFoundError) as caught:
        gtzan.find_audio(root)
    assert (caught.value.kind, caught.value.key) == (kind, key)


def test_names_in_capitals_are_the_same_clips(here):
    for genre in ("blues", "jazz"):
        for i in range(4):
            write_tone(here / "GTZAN" / "Genres" / genre.title() / f"{genre.title()}.{i:05d}.WAV", TONES[genre], i)
    data = gtzan.GTZAN(
        str(here / "GTZAN"),
        {"protocol": "random", "valid": 0.25, "test": 0.25},
        store=str(here / "c"),
        sample_rate=RATE,
    )
    data.setup()
    assert sorted(data.tracks.track_id) == sorted(f"{genre}.{i:05d}" for genre in ("blues", "jazz") for i in range(4))


def test_the_folder_of_one_genre_names_the_one_above(here):
    write_tone(here / "genres" / "blues" / "blues.00000.wav", 200, 0)
    with pytest.raises(DatasetNotFoundError) as caught:
        gtzan.find_audio(str(here / "genres" / "blues"))
    assert f"data.root={here / 'genres'}" in str(caught.value)


def test_a_wrong_root_lists_its_content(here):
    (here / "music" / "songs").mkdir(parents=True)
    for root, content in (("music", "songs"), ("music/songs", "empty"), ("nowhere", "not exist")):
        with pytest.raises(DatasetNotFoundError) as caught:
            gtzan.find_audio(str(here / root))
        assert content in str(caught.value)


def train(run, real_data, *overrides):
    result = run("train", "data=gtzan_features", f"data.root={real_data / 'GTZAN'}", "model=logreg", *overrides)
    assert result.code == 0, result.err
    return result


def test_real_table_under_the_fault_filtered_lists(run, here, real_data):
    result = train(run, real_data, "evaluate=[valid,test]")
    finished = Run.open(only_run(here))
    assert "test" not in finished.metrics
    assert finished.metrics["valid"]["n"] == 197
    protocol = finished.metrics["protocol"]
    assert (protocol["split"], protocol["leaky"], protocol["pretraining_overlap"]) == ("fault_filtered", "no", [])
    (why,) = protocol["why"]
    assert re.findall(r"\d+", why) == ["44", "640"]  # tracks of unknown artist
    assert finished.provenance["dropped"]["outside the fault-filtered lists"] == 70
    assert "no test tracks" in result.out
    evaluated = run("evaluate", str(finished.folder))
    assert (evaluated.code, len(evaluated.lines)) == (2, 1)
    assert evaluated.lines[0].startswith("test: ")


def test_real_table_split_at_random_is_leaky(run, here, real_data):
    result = train(run, real_data, "data/split=random")
    protocol = Run.open(only_run(here)).metrics["protocol"]
    assert protocol["leaky"] == "yes"
    assert re.findall(r"\d+", protocol["why"][0])[:2] == ["46", "59"]  # artists of valid that are also in train
    assert "leaky" in result.out
    compared = run("compare", "outputs")
    assert "leaky" in compared.out


def test_real_table_in_artist_folds(run, here, real_data):
    train(run, real_data, "data/split=artist_folds", "data.fold=3", "evaluate=[valid,test]")
    assert Run.open(only_run(here)).metrics["protocol"]["leaky"] == "no"


@pytest.fixture
def few_clips(here):
    """A feature table of a tenth of the listed clips; of blues only the one for testing, of metal none for training."""
    index = gtzan.load_index()
    listed = index[index.fault_filtered.notna()]
    genre = listed.index.str.split(".").str[0]
    blues = (genre == "blues") & (listed.fault_filtered != "test")
    metal = (genre == "metal") & (listed.fault_filtered == "train")
    clips = listed.index[~blues & ~metal][::5]
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(len(clips), 8)), columns=[f"f{i}" for i in range(8)])
    frame.insert(0, "filename", [f"{clip}.wav" for clip in clips])
    frame["label"] = [clip.split(".")[0] for clip in clips]
    (here / "g").mkdir()
    frame.to_csv(here / "g" / "features_30_sec.csv", index=False)
    return ["data=gtzan_features", "data.root=g", "model=logreg"], len(clips)


def test_classes_without_training_tracks_stop_the_run(few_clips, run, here):
    overrides, n = few_clips
    result = run("train", *overrides)
    assert (result.code, len(result.lines)) == (2, 1)
    (problem,) = result.problems
    assert (problem.kind, problem.key, problem.value) == ("untrained_classes", "train", 2)
    assert re.findall(r"\d+", problem.message)[:4] == [str(n), "930", "2", "10"]
    assert "data/split=grouped" in problem.message
    assert not list(here.glob("outputs/*/status.json"))


@pytest.mark.parametrize("option", ["data/split=grouped", "allow_untrained_classes=true"])
def test_the_remedies_for_classes_without_training_tracks(option, few_clips, run, here):
    overrides, n = few_clips
    result = run("train", *overrides, option)
    assert result.code == 0, result.err
    notes = Run.open(only_run(here)).provenance["notes"]
    if option == "data/split=grouped":
        assert result.err == ""
    else:
        assert re.findall(r"\d+", result.lines[0]) == [str(n), "930"]  # before training
        assert any("930" in note for note in notes)
