"""Feature tables: what is read, what is refused, and that nothing is left half-written."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from musicreclass.data.sampling import LoaderSettings
from musicreclass.data.sources.table_file import TableFile
from musicreclass.runs.folder import Run
from tests.conftest import make_frame, only_run, table_overrides


def opened(path: str, **settings) -> TableFile:
    data = TableFile(path, settings.pop("split", {"protocol": "auto"}), **settings)
    data.setup()
    return data


def write(frame: pd.DataFrame, path: str = "t.csv") -> str:
    frame.to_csv(path, index=False)
    return path


def frame_with(**columns) -> pd.DataFrame:
    return make_frame().assign(**columns)


def spoil(change) -> str:
    path = Path(write(make_frame()))
    path.write_bytes(change(path.read_bytes()))
    return str(path)


def one_class() -> str:
    return write(frame_with(label="blues"))


def one_class_to_learn() -> str:
    frame = make_frame()
    frame["split"] = np.where(frame.label == "blues", "train", "valid")
    return write(frame)


def splits(value: str) -> str:
    frame = make_frame()
    frame["split"] = np.where(np.arange(len(frame)) % 2, "test", value)
    return write(frame)


BAD = {
    "missing file": (lambda: "nowhere.csv", [], "data.path=nowhere.csv: there is no such file"),
    "a folder": (lambda: str(Path("d").mkdir() or "d"), [], "data.path=d: there is no such file"),
    "empty file": (lambda: spoil(lambda b: b""), [], "the file is empty"),
    "only a header": (lambda: spoil(lambda b: b.splitlines()[0] + b"\n"), [], "no rows beneath the header"),
    "truncated": (lambda: spoil(lambda b: b[: len(b) // 2]), [], "Expected 8 columns, got"),
    "no header": (lambda: spoil(lambda b: b.split(b"\n", 1)[1]), [], "no column 'track_id' (data.id_column)"),
    "binary": (lambda: spoil(lambda b: os.urandom(4000)), [], "t.csv: "),
    "semicolons": (lambda: spoil(lambda b: b.replace(b",", b";")), [], "fields must be separated by commas"),
    "a column twice": (lambda: spoil(lambda b: b.replace(b"f1", b"f0", 1)), [], "the header names 'f0' twice"),
    "no parquet": (lambda: str(Path(spoil(lambda b: b)).rename("t.parquet")), [], "cannot be read"),
    "no id column": (lambda: write(make_frame()), ["data.id_column=name"], "no column 'name' (data.id_column)"),
    "no label": (lambda: write(make_frame()), ["data.label_column=lable"], "did you mean label?"),
    "no group": (lambda: write(make_frame()), ["data.group_column=artist"], "(data.group_column)"),
    "no split": (lambda: write(make_frame()), ["data.split_column=fold"], "(data.split_column)"),
    "no ignored": (lambda: write(make_frame()), ["data.ignore_columns=[x]"], "'x' (data.ignore_columns)"),
    "text": (lambda: write(frame_with(mood="sad")), [], "'data.ignore_columns=[\"mood\"]'"),
    "one bad cell": (lambda: spoil(lambda b: b.replace(b",0.", b",o.", 1)), [], "is not of numbers"),
    "no features": (lambda: write(make_frame()[["track_id", "label"]]), [], "no feature columns"),
    "one class": (one_class, [], "every track is of one class (blues)"),
    "one class to learn": (
        one_class_to_learn,
        ["data.split_column=split"],
        "the train split holds one class alone (blues)",
    ),
    "no valid": (lambda: splits("train"), ["data.split_column=split"], "the valid split is empty"),
    "no train": (lambda: splits("valid"), ["data.split_column=split"], "the train split is empty"),
    "odd split": (lambda: splits("dev2"), ["data.split_column=split"], "the split column holds 'dev2'"),
    "too few": (lambda: write(make_frame(3)), [], "the valid split is empty"),
    "duplicate ids": (lambda: write(frame_with(track_id="t1")), [], "89 duplicate ids (t1)"),
    "an id missing": (lambda: write(frame_with(track_id=[None, *range(89)])), [], "1 rows have no track_id"),
    "no groups": (lambda: write(make_frame()), ["data/split=grouped"], "data.group_column=NAME"),
    "all test": (
        lambda: write(make_frame()),
        ["data.split.valid=0.5", "data.split.test=0.5"],
        "leave nothing to train on",
    ),
    "holes": (lambda: write(make_frame()), ["data.on_missing=error"], "data.on_missing=error"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(name, run, here):
    make, overrides, words = BAD[name]
    result = run("train", "data=table", f"data.path={make()}", "model=logreg", *overrides)
    assert result.code == 2
    assert len(result.lines) == 1, result.err
    assert words in result.lines[0]
    assert not (here / "outputs").exists()


def test_unwritable_output_is_one_line(run, table, here):
    (here / "outputs").write_text("a file where the folder should be")
    result = run("train", "data=table", f"data.path={table}", "data.ignore_columns=[split]", "model=logreg")
    assert result.code == 2
    assert len(result.lines) == 1
    assert "cannot be written" in result.lines[0]


def test_a_duplicate_id_is_counted_once_each(here):
    frame = make_frame()
    frame.loc[5, "track_id"] = frame.track_id[4]
    from musicreclass.errors import DataError

    with pytest.raises(DataError, match=r"1 duplicate ids \(t004\): an id names one track"):
        opened(write(frame))


def test_csv_and_parquet_say_the_same(here):
    frame = make_frame(groups=6)
    frame.to_parquet("t.parquet")
    one, two = (opened(p, group_column="artist") for p in (write(frame), "t.parquet"))
    assert one.fingerprint() == two.fingerprint()
    assert one.columns == two.columns == [f"f{i}" for i in range(6)]
    pd.testing.assert_frame_equal(one.tracks, two.tracks)
    assert np.allclose(one.x, frame[one.columns].to_numpy(np.float32), equal_nan=True)


@pytest.mark.parametrize("name", ["t.csv", "twice.csv", "t.parquet"])
def test_what_pandas_leaves_of_an_index_is_no_feature(name, here):
    frame = make_frame()
    frame.index = pd.Index(np.arange(len(frame))[::-1])
    if name == "t.parquet":
        frame.to_parquet(name)
        assert "__index_level_0__" in parquet.read_schema(name).names
    else:
        frame.to_csv(name)
    if name == "twice.csv":
        pd.read_csv(name).to_csv(name)
        assert Path(name).read_text().startswith(",Unnamed: 0,track_id")
    data = opened(name)
    assert data.columns == [f"f{i}" for i in range(6)]
    assert data.fingerprint() == opened(write(make_frame(), "plain.csv")).fingerprint()
    assert any("a column without a name is left out" in note for note in data.notes)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_whole_numbers_and_truth_values_may_be_missing(name, here):
    frame = frame_with(
        count=pd.array([None, 7, -3] * 30, dtype="Int64"), live=pd.array([True, None, False] * 30, dtype="boolean")
    )
    frame.to_parquet(name) if name == "t.parquet" else frame.to_csv(name, index=False)
    data = opened(name)
    x = dict(zip(data.columns, data.x.T, strict=True))
    assert np.array_equal(x["count"], np.tile([np.nan, 7, -3], 30), equal_nan=True)
    assert np.array_equal(x["live"], np.tile([1, np.nan, 0], 30), equal_nan=True)


def test_a_path_may_start_at_home(run, table, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.chdir("/")
    words = ["train", *table_overrides('"~/features.csv"'), "model=logreg", 'paths.outputs="~/outputs"']
    assert run(*words).code == 0
    assert "found finished" in run(*words).out
    assert Run.open(only_run(here)).metrics["valid"]["n"] == 18


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks(line_end, mark, here):
    text = make_frame().to_csv(index=False)
    Path("t.csv").write_bytes((mark + text).replace("\n", line_end).encode())
    assert opened("t.csv").fingerprint() == opened(write(make_frame(), "u.csv")).fingerprint()


def test_the_order_of_rows_does_not_change_the_split(here):
    frame = make_frame(groups=7)
    one = opened(write(frame), group_column="artist").tracks.set_index("track_id").split
    two = (
        opened(write(frame.sample(frac=1, random_state=1), "u.csv"), group_column="artist")
        .tracks.set_index("track_id")
        .split
    )
    assert one.sort_index().equals(two.sort_index())


def test_what_is_missing_is_counted(here):
    frame = make_frame()
    frame[["f0", "f1"]] = 1.0
    features = [f"f{i}" for i in range(6)]
    frame[features] = frame[features].fillna(0.0)
    frame.loc[[1, 2], "label"] = None
    frame.loc[3, "label"] = "  "
    frame.loc[[10, 11, 12], features] = np.nan
    frame.loc[[20, 21], "f0"] = np.inf
    frame.loc[22, "f3"] = np.nan
    for policy, left, note in (("impute", 84, True), ("drop", 81, False)):
        data = opened(write(frame), on_missing=policy)
        assert len(data.tracks) == left == len(data.x)
        assert data.dropped["without a label"] == 3
        assert data.dropped["without a single finite feature"] == 3
        assert data.dropped.get("with missing or infinite features", 0) == (3 if policy == "drop" else 0)
        assert any("3 tracks have missing" in n for n in data.notes) == note
        assert not np.isinf(data.x).any()


def test_values_beyond_float32_count_as_missing(here):
    frame = make_frame()
    frame.loc[4, "f2"] = 1e300
    data = opened(write(frame))
    assert np.isnan(data.x[data.tracks.track_id == "t004", 2]).all()


def test_batches_are_keyed_by_seed_and_epoch(here):
    data = opened(write(make_frame()))

    def rows(seed: int, epoch: int) -> list[int]:
        loader = data.train_loader(LoaderSettings(batch_size=2, seed=seed))
        loader.sampler.set_epoch(epoch)
        return [int(r) for _, _, row in loader for r in row]

    assert rows(0, 0) == rows(0, 0)
    assert sorted(rows(0, 0)) == sorted(rows(0, 1)) == np.flatnonzero(data.tracks.split == "train").tolist()
    assert len({tuple(rows(s, e)) for s in (0, 1) for e in (0, 1)}) == 4
    for x, y, row in data.train_loader(LoaderSettings(batch_size=2)):
        assert np.array_equal(x.numpy(), data.x[row.numpy()], equal_nan=True)
        assert [data.classes[int(k)] for k in y] == data.tracks.target[row.numpy()].tolist()
