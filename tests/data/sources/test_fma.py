"""FMA's tables: every header variant, every irregularity counted, and the real excerpt."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musicreclass.data.sources.fma import FMAFeatures
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.features import fma518
from musicreclass.runs.folder import Run
from tests.conftest import only_run

COLUMNS = [tuple(name.rsplit("_", 2)) for name in fma518.COLUMNS]


def tracks_frame(rows: list[tuple]) -> pd.DataFrame:
    """(id, split, subset, genre, artist, album) rows in the official form, with a few of the other columns."""
    columns = [
        ("set", "split"),
        ("set", "subset"),
        ("track", "genre_top"),
        ("artist", "id"),
        ("album", "id"),
        ("album", "title"),
    ]
    return pd.DataFrame([[*r[1:], 'a "quoted", title\nof two lines'] for r in rows],
                         index=pd.Index([r[0] for r in rows], name="track_id"),
                         columns=pd.MultiIndex.from_tuples(columns), dtype=object)  # fmt: skip


def features_frame(ids: list[int], columns=COLUMNS, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = pd.MultiIndex.from_tuples(columns, names=["feature", "statistics", "number"])
    return pd.DataFrame(
        rng.normal(size=(len(ids), len(columns))).round(4), index=pd.Index(ids, name="track_id"), columns=names
    )


def write(root: Path, tracks: pd.DataFrame, features: pd.DataFrame) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    tracks.to_csv(root / "tracks.csv")
    features.to_csv(root / "features.csv")
    return root


def opened(root: Path, cache: Path, protocol: str = "official", **settings) -> FMAFeatures:
    data = FMAFeatures(str(root), {"protocol": protocol}, str(cache), **settings)
    data.prepare_data()
    data.setup()
    return data


def regular(n: int = 60) -> list[tuple]:
    """Three genres, every artist in one split, subsets in turn."""
    place = ["training", "training", "training", "validation", "test"]
    return [(10 + i, place[i // 6 % 5], ["small", "medium", "large"][i // 4 % 3 if i > 30 else 0], ["Rock", "Folk", "Jazz"][i % 3],
             1000 + i // 6, 500 + i // 6) for i in range(n)]  # fmt: skip


@pytest.fixture
def place(tmp_path) -> Path:
    rows = regular()
    return write(tmp_path / "FMA" / "Misc" / "fma_metadata", tracks_frame(rows), features_frame([r[0] for r in rows]))


def test_tables_are_read_as_they_are(place, tmp_path):
    data = opened(tmp_path / "FMA", tmp_path / "c", subset="large")
    frame = pd.read_csv(place / "features.csv", header=[0, 1, 2], index_col=0)
    assert data.columns == list(fma518.COLUMNS)
    assert np.array_equal(data.x, frame.to_numpy(np.float32))
    assert data.tracks.track_id.tolist() == [str(i) for i in frame.index]
    assert data.protocol.split == "official"
    assert data.protocol.leaky == "no"
    assert data.tracks.group[0] == "1000"
    assert data.tracks.album[0] == "500"
    assert data.tracks.split.value_counts().to_dict() == {"train": 36, "valid": 12, "test": 12}


@pytest.mark.parametrize("root", ["FMA", "FMA/Misc", "FMA/Misc/fma_metadata", "."])
def test_the_folder_is_found(place, tmp_path, root):
    assert len(opened(tmp_path / root, tmp_path / "c", subset="full").tracks) == 60


def test_subsets_are_nested_and_sets_are_named(place, tmp_path):
    sizes = {s: len(opened(tmp_path, tmp_path / "c", subset=s).tracks) for s in ("small", "medium", "large", "full")}
    frame = pd.read_csv(place / "tracks.csv", header=[0, 1], index_col=0)
    count = frame["set", "subset"].value_counts()
    assert sizes == {"small": count["small"], "medium": count["small"] + count["medium"], "large": 60, "full": 60}
    assert len(opened(tmp_path, tmp_path / "c", "random", subset="medium", subset_exact=True).tracks) == count["medium"]
    some = opened(tmp_path, tmp_path / "c", feature_sets=["mfcc", "spectral_contrast"])
    assert some.x.shape[1] == 27 * 7
    assert {c.rsplit("_", 2)[0] for c in some.columns} == {"mfcc", "spectral_contrast"}
    with pytest.raises(DataError, match="has no mfccs; there is chroma_cens"):
        opened(tmp_path, tmp_path / "c", feature_sets=["mfccs"])


def change(path: Path, how) -> None:
    path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("how", [
    lambda b: b.replace(b"feature,", b"features,", 1),
    lambda b: b.replace(b"\n", b"\r\n"),
    lambda b: b"\xef\xbb\xbf" + b,
    lambda b: b"".join(line for line in b.splitlines(keepends=True) if not line.startswith(b"track_id,")),
])  # fmt: skip
def test_variants_of_the_header_are_read_alike(place, tmp_path, how):
    before = opened(tmp_path, tmp_path / "c")
    change(place / "features.csv", how)
    after = opened(tmp_path, tmp_path / "c")
    assert np.array_equal(before.x, after.x)
    assert before.fingerprint() == after.fingerprint()


@pytest.mark.parametrize(("file", "how", "words"), [
    ("features.csv", lambda b: b[:-5], "cut short"),
    ("features.csv", lambda b: b[:-700] + b"\n", "Expected 519 columns, got"),
    ("features.csv", lambda b: b[:200], "not a table with a header of 3 rows"),
    ("features.csv", lambda b: b.replace(b"chroma_cens", b"chroma_cents"), "its header is not that of the features.csv"),
    ("features.csv", lambda b: b + b.splitlines(keepends=True)[-1], "a track stands twice"),
    ("features.csv", lambda b: b.replace(b"\n11,", b"\neleven,"), "cannot be read"),
    ("features.csv", lambda b: bytes(200), "features.csv: "),
    ("tracks.csv", lambda b: b.replace(b"genre_top", b"genres"), "no column track.genre_top: not the tracks.csv"),
    ("tracks.csv", lambda b: b[: len(b) // 2], "tracks.csv: "),
    ("tracks.csv", lambda b: b"track_id,split\n2,training\n", "not the tracks.csv"),
])  # fmt: skip
def test_damaged_and_foreign_files_are_one_line(place, tmp_path, file, how, words):
    change(place / file, how)
    with pytest.raises(DataError) as refused:
        opened(tmp_path, tmp_path / "c")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_not_there_is_named(place, tmp_path, run):
    (place / "features.csv").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"no features\.csv beside tracks\.csv"):
        opened(tmp_path, tmp_path / "c")
    with pytest.raises(DatasetNotFoundError, match=r"no tracks\.csv under"):
        opened(tmp_path / "nowhere", tmp_path / "c")
    (tmp_path / "packed").mkdir()
    zipfile.ZipFile(tmp_path / "packed" / "fma_metadata.zip", "w").close()
    with pytest.raises(DatasetNotFoundError, match="still packed: unzip it"):
        opened(tmp_path / "packed", tmp_path / "c")
    result = run("train", "data=fma_features")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "MUSICRECLASS_DATA" in result.lines[0]


def test_every_irregularity_is_counted(tmp_path):
    rows = regular()
    rows += [(200 + i, "training", "large", None, 1, 1) for i in range(7)]  # without a genre
    rows += [(300 + i, "training", "small", "Rock", 1000, 1) for i in range(3)]  # without features
    rows += [(98565, "training", "small", "Rock", 1000, 1), (1486, "training", "medium", "Folk", 1001, 1)]  # cut short
    rows += [(400, "validation", "small", "Rock", 1000, 500)]  # its artist is in training too
    rows += [(500, "training", "small", "Polka", 77, 77)]  # the only one of its class
    ids = [r[0] for r in rows if not 300 <= r[0] < 310]
    features = features_frame(ids)
    features.loc[12] = np.nan
    features.loc[13] = np.inf
    features.loc[14, ("mfcc", "mean", "01")] = np.nan
    features.loc[15, ("zcr", "max", "01")] = -np.inf
    features.loc[17] = features.loc[16].to_numpy()  # a copy, in one split
    features = pd.concat([features, features_frame([9001, 9002], seed=1)])
    write(tmp_path / "fma_metadata", tracks_frame(rows), features)

    data = opened(tmp_path, tmp_path / "c", subset="full")
    assert data.dropped == {
        "in tracks.csv but not in features.csv": 3,
        "in features.csv but not in tracks.csv": 2,
        "without a label": 7,
        "without a single finite feature": 2,
    }
    assert len(data.tracks) == 60 + 4 - 2
    for note in ("2 tracks have missing or infinite features: training medians fill them", "2 tracks whose clips are cut short are kept",
                 "1 classes have too few tracks to be in train, valid and test (Polka 1)", "1 tracks repeat another's features",
                 "no valid tracks of Polka"):  # fmt: skip
        assert any(line.startswith(note) for line in data.notes), (note, data.notes)
    assert data.protocol.leaky == "yes"
    assert data.protocol.why[0] == "1 of the 3 artists in valid are in train too (1 of 13 valid tracks)"

    data = opened(
        tmp_path, tmp_path / "c", subset="full", on_missing="drop", truncated_clips="drop", min_class_tracks=2
    )
    assert data.dropped["with missing or infinite features"] == 2
    assert data.dropped["whose clips are cut short"] == 2
    assert data.dropped["of classes with fewer than 2 tracks"] == 1
    assert len(data.tracks) == 60 + 1 - 4
    with pytest.raises(DataError, match="4 tracks have missing or infinite features"):
        opened(tmp_path, tmp_path / "c", subset="full", on_missing="error")
    small = opened(tmp_path, tmp_path / "c", subset="small")
    assert small.dropped["without a label"] == 0


def test_a_random_split_of_grouped_tracks_is_found_leaky(place, tmp_path):
    data = opened(tmp_path, tmp_path / "c", "random", subset="full")
    assert data.protocol.leaky == "yes"
    assert "artists in valid are in train too" in data.protocol.why[0]
    assert opened(tmp_path, tmp_path / "c", "grouped", subset="full").protocol.leaky == "no"


def test_the_second_start_does_not_read_the_csv(place, tmp_path, monkeypatch):
    first = opened(tmp_path, tmp_path / "c")

    def refuse(*args, **kwargs):
        raise AssertionError("read again")

    monkeypatch.setattr("musicreclass.data.sources.fma.convert_features", refuse)
    monkeypatch.setattr("musicreclass.data.sources.fma.read_tracks", refuse)
    assert opened(tmp_path, tmp_path / "c").fingerprint() == first.fingerprint()


def test_counts_reach_the_terminal_and_the_run_folder(run, here, tmp_path):
    rows = [*regular(), (700, "training", "small", None, 1, 1), (701, "training", "small", "Rock", 1, 1)]
    write(here / "fma_metadata", tracks_frame(rows), features_frame([r[0] for r in rows][:-1]))
    result = run(
        "train", "data=fma_features", f"data.root={here}", "model=logreg", "data.subset=large", "evaluate=[valid,test]"
    )
    assert result.code == 0, result.err
    assert "left out: 1 in tracks.csv but not in features.csv, 1 without a label" in result.out
    folder = only_run(here)
    assert json.loads((folder / "provenance.json").read_text())["dropped"]["without a label"] == 1
    assert Run.open(folder).metrics["protocol"]["leaky"] == "no"


@pytest.mark.parametrize(("model", "least"), [("xgboost", 0.90), ("svm", 0.90), ("mlp", 0.88)])
def test_real_features(run, here, real_data, model, least):
    words = [
        "data=fma_features",
        f"data.root={real_data / 'FMA'}",
        f"model={model}",
        "evaluate=[valid,test]",
        "hardware=cpu",
    ]
    result = run("train", *words)
    assert result.code == 0, result.err
    found = Run.open(only_run(here))
    assert found.metrics["test"]["accuracy"] >= least
    assert found.metrics["protocol"]["leaky"] == "unknown"
    assert found.metrics["protocol"]["why"] == ["the artist is unknown for all of 1990 tracks"]
    assert found.provenance["dropped"]["without a single finite feature"] == 10
