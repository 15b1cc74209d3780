"""FMA's tables: variants of the header, irregularities that are counted, and the real excerpt."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musicreclass.data.sources.fma_features import FMAFeatures
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.features.fma518.columns import COLUMNS as NAMES
from musicreclass.runs.folder import Run
from tests.conftest import only_run

COLUMNS = [tuple(name.rsplit("_", 2)) for name in NAMES]


def tracks_frame(rows: list[tuple]) -> pd.DataFrame:
    """(id, split, subset, genre, artist, album) rows in the official format, with one more column."""
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
    """Three genres, each artist in a single split, alternating subsets."""
    splits = ["training", "training", "training", "validation", "test"]
    return [(10 + i, splits[i // 6 % 5], ["small", "medium", "large"][i // 4 % 3 if i > 30 else 0], ["Rock", "Folk", "Jazz"][i % 3],
             1000 + i // 6, 500 + i // 6) for i in range(n)]  # fmt: skip


@pytest.fixture
def metadata(tmp_path) -> Path:
    rows = regular()
    return write(tmp_path / "FMA" / "Misc" / "fma_metadata", tracks_frame(rows), features_frame([r[0] for r in rows]))


def test_tables_are_read_unchanged(metadata, tmp_path):
    data = opened(tmp_path / "FMA", tmp_path / "c", subset="large")
    frame = pd.read_csv(metadata / "features.csv", header=[0, 1, 2], index_col=0)
    assert data.columns == list(NAMES)
    assert np.array_equal(data.x, frame.to_numpy(np.float32))
    assert data.tracks.track_id.tolist() == [str(i) for i in frame.index]
    assert data.protocol.split == "official"
    assert data.protocol.leaky == "no"
    assert data.tracks.group[0] == "1000"
    assert data.tracks.album[0] == "500"
    assert data.tracks.split.value_counts().to_dict() == {"train": 36, "valid": 12, "test": 12}


def test_the_metadata_folder_is_found(metadata, tmp_path):
    for root in ("FMA", "FMA/Misc", "FMA/Misc/fma_metadata", "."):
        assert len(opened(tmp_path / root, tmp_path / "c", subset="full").tracks) == 60, root


def test_the_metadata_folder_is_recognised_in_another_case(metadata, tmp_path):
    metadata.parent.rename(metadata.parents[1] / "MISC")
    metadata.parents[1].rename(tmp_path / "fma")
    assert len(opened(tmp_path, tmp_path / "c", subset="full").tracks) == 60


def test_subsets_are_nested_and_feature_sets_are_selected(metadata, tmp_path):
    sizes = {s: len(opened(tmp_path, tmp_path / "c", subset=s).tracks) for s in ("small", "medium", "large", "full")}
    frame = pd.read_csv(metadata / "tracks.csv", header=[0, 1], index_col=0)
    count = frame["set", "subset"].value_counts()
    assert sizes == {"small": count["small"], "medium": count["small"] + count["medium"], "large": 60, "full": 60}
    assert len(opened(tmp_path, tmp_path / "c", "random", subset="medium", subset_exact=True).tracks) == count["medium"]
    selected = opened(tmp_path, tmp_path / "c", feature_sets=["mfcc", "spectral_contrast"])
    assert selected.x.shape[1] == 27 * 7
    assert {c.rsplit("_", 2)[0] for c in selected.columns} == {"mfcc", "spectral_contrast"}
    with pytest.raises(DataError, match="chroma_cens") as caught:
        opened(tmp_path, tmp_path / "c", feature_sets=["mfccs"])
    assert (caught.value.kind, caught.value.key) == ("missing_feature_set", "data.feature_sets")


def change(path: Path, how) -> None:
    path.write_bytes(how(path.read_bytes()))


VARIANTS = {
    "another name": lambda b: b.replace(b"feature,", b"features,", 1),
    "line ends": lambda b: b.replace(b"\n", b"\r\n"),
    "byte order mark": lambda b: b"\xef\xbb\xbf" + b,
    "no name of the index": lambda b: b"".join(
        line for line in b.splitlines(keepends=True) if not line.startswith(b"track_id,")
    ),
}


def test_variants_of_the_header_are_equivalent(metadata, tmp_path):
    before, content = opened(tmp_path, tmp_path / "c"), (metadata / "features.csv").read_bytes()
    for name, how in VARIANTS.items():
        (metadata / "features.csv").write_bytes(how(content))
        assert (metadata / "features.csv").read_bytes() != content
        after = opened(tmp_path, tmp_path / "c")
        assert np.array_equal(before.x, after.x), name
        assert before.fingerprint() == after.fingerprint(), name


@pytest.mark.parametrize(("file", "how", "kind"), [
    ("features.csv", lambda b: b[:-5], "truncated"),
    ("features.csv", lambda b: b[:-700] + b"\n", "unreadable"),
    ("features.csv", lambda b: b[:200], "invalid_header"),
    ("features.csv", lambda b: b.replace(b"chroma_cens", b"chroma_cents"), "invalid_header"),
    ("features.csv", lambda b: b + b.splitlines(keepends=True)[-1], "duplicate_track"),
    ("features.csv", lambda b: b.replace(b"\n11,", b"\neleven,"), "unreadable"),
    ("features.csv", lambda b: bytes(200), "invalid_header"),
    ("tracks.csv", lambda b: b.replace(b"genre_top", b"genres"), "missing_column"),
    ("tracks.csv", lambda b: b[: len(b) // 2], "unreadable"),
    ("tracks.csv", lambda b: b"track_id,split\n2,training\n", "missing_column"),
])  # fmt: skip
def test_damaged_and_foreign_files_are_one_line(metadata, tmp_path, file, how, kind):
    change(metadata / file, how)
    with pytest.raises(DataError) as caught:
        opened(tmp_path, tmp_path / "c")
    assert caught.value.kind == kind
    assert str(metadata / file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(metadata, tmp_path, run):
    (metadata / "features.csv").unlink()
    (tmp_path / "packed").mkdir()
    archive = tmp_path / "packed" / "fma_metadata.zip"
    zipfile.ZipFile(archive, "w").close()
    for root, kind, key in (
        (tmp_path, "missing_features_csv", metadata / "features.csv"),
        (tmp_path / "nowhere", "missing_metadata", tmp_path / "nowhere"),
        (tmp_path / "packed", "not_unpacked", archive),
    ):
        with pytest.raises(DatasetNotFoundError) as caught:
            opened(root, tmp_path / "c")
        assert (caught.value.kind, caught.value.key) == (kind, str(key))
    result = run("train", "data=fma_features")
    assert (result.code, len(result.lines)) == (2, 1)
    assert (result.problems[0].kind, result.problems[0].key) == ("missing_root", "data.root")
    assert "MUSICRECLASS_DATA" in result.lines[0]


def test_irregularities_are_counted(tmp_path):
    rows = regular()
    rows += [(200 + i, "training", "large", None, 1, 1) for i in range(7)]  # without a genre
    rows += [(300 + i, "training", "small", "Rock", 1000, 1) for i in range(3)]  # without features
    rows += [
        (98565, "training", "small", "Rock", 1000, 1),
        (1486, "training", "medium", "Folk", 1001, 1),
    ]  # truncated clips
    rows += [(400, "validation", "small", "Rock", 1000, 500)]  # its artist is also in training
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
    for count, subject in (("2", "infinite features"), ("2", "truncated clips"), ("1", "Polka 1"), ("1", "same features"),
                           ("no valid tracks", "Polka")):  # fmt: skip
        assert any(note.startswith(f"{count} ") and subject in note for note in data.notes), (subject, data.notes)
    assert data.protocol.leaky == "yes"
    assert re.findall(r"\d+", data.protocol.why[0]) == ["1", "3", "1", "13"]  # artists, valid tracks

    data = opened(
        tmp_path, tmp_path / "c", subset="full", on_missing="drop", truncated_clips="drop", min_class_tracks=2
    )
    assert data.dropped["with missing or infinite features"] == 2
    assert data.dropped["with truncated clips"] == 2
    assert data.dropped["of classes with fewer than 2 tracks"] == 1
    assert len(data.tracks) == 60 + 1 - 4
    with pytest.raises(DataError) as caught:
        opened(tmp_path, tmp_path / "c", subset="full", on_missing="error")
    assert (caught.value.kind, caught.value.problems[0].value) == ("missing_features", 4)
    small = opened(tmp_path, tmp_path / "c", subset="small")
    assert small.dropped["without a label"] == 0


def test_a_random_split_of_grouped_tracks_is_leaky(metadata, tmp_path):
    data = opened(tmp_path, tmp_path / "c", "random", subset="full")
    assert data.protocol.leaky == "yes"
    assert opened(tmp_path, tmp_path / "c", "grouped", subset="full").protocol.leaky == "no"


def test_the_csv_is_read_only_once(metadata, tmp_path, monkeypatch):
    first = opened(tmp_path, tmp_path / "c")

    def fail(*args, **kwargs):
        raise AssertionError("read again")

    monkeypatch.setattr("musicreclass.data.sources.fma_features_csv.convert_features", fail)
    monkeypatch.setattr("musicreclass.data.sources.fma_metadata.read_tracks", fail)
    assert opened(tmp_path, tmp_path / "c").fingerprint() == first.fingerprint()


def test_counts_are_printed_and_recorded(run, here, tmp_path):
    rows = [*regular(), (700, "training", "small", None, 1, 1), (701, "training", "small", "Rock", 1, 1)]
    write(here / "fma_metadata", tracks_frame(rows), features_frame([r[0] for r in rows][:-1]))
    result = run(
        "train", "data=fma_features", f"data.root={here}", "model=logreg", "data.subset=large", "evaluate=[valid,test]"
    )
    assert result.code == 0, result.err
    assert "1 in tracks.csv but not in features.csv, 1 without a label" in result.out
    folder = only_run(here)
    assert json.loads((folder / "provenance.json").read_text())["dropped"]["without a label"] == 1
    assert Run.open(folder).metrics["protocol"]["leaky"] == "no"


@pytest.mark.parametrize(
    ("model", "min_accuracy"), [("xgboost", 0.90), ("svm", 0.90), pytest.param("mlp", 0.88, marks=pytest.mark.slow)]
)
def test_real_features(run, here, real_data, model, min_accuracy):
    overrides = [
        "data=fma_features",
        f"data.root={real_data / 'FMA'}",
        f"model={model}",
        "evaluate=[valid,test]",
        "hardware=cpu",
    ]
    result = run("train", *overrides)
    assert result.code == 0, result.err
    finished = Run.open(only_run(here))
    assert finished.metrics["test"]["accuracy"] >= min_accuracy
    assert finished.metrics["protocol"]["leaky"] == "unknown"
    (why,) = finished.metrics["protocol"]["why"]
    assert "1,990" in why
    assert finished.provenance["dropped"]["without a single finite feature"] == 10


def test_artists_have_their_names_where_the_file_has_them(metadata, tmp_path):
    without = FMAFeatures(str(tmp_path / "FMA"), {"protocol": "official"}, str(tmp_path / "c")).read()
    assert set(without.artist_names) == {None}
    frame = pd.read_csv(metadata / "tracks.csv", header=[0, 1], index_col=0)
    frame["artist", "name"] = "artist " + frame["artist", "id"].astype(str)
    frame.to_csv(metadata / "tracks.csv")
    table = FMAFeatures(str(tmp_path / "FMA"), {"protocol": "official"}, str(tmp_path / "c")).read()
    assert list(table.artist_names) == [f"artist {number}" for number in table.metadata["group"]]
