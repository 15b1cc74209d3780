"""Feature tables: what is read, and what is rejected without leaving anything behind."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from pyarrow.parquet import read_schema

from musicreclass.data.sampling import LoaderSettings
from musicreclass.data.sources.table_file import TableFile
from musicreclass.errors import DataError, DatasetNotFoundError
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


def corrupted(change) -> str:
    path = Path(write(make_frame()))
    path.write_bytes(change(path.read_bytes()))
    return str(path)


def one_class() -> str:
    return write(frame_with(label="blues"))


def one_training_class() -> str:
    frame = make_frame()
    frame["split"] = np.where(frame.label == "blues", "train", "valid")
    return write(frame)


def with_test_and(value: str) -> str:
    frame = make_frame()
    frame["split"] = np.where(np.arange(len(frame)) % 2, "test", value)
    return write(frame)


BAD = {  # how to make the file, overrides, and the kind and key of the problem
    "empty file": (lambda: corrupted(lambda b: b""), [], "empty_file", "t.csv"),
    "only a header": (lambda: corrupted(lambda b: b.splitlines()[0] + b"\n"), [], "no_rows", "t.csv"),
    "truncated": (lambda: corrupted(lambda b: b[: len(b) // 2]), [], "unreadable", "t.csv"),
    "no header": (lambda: corrupted(lambda b: b.split(b"\n", 1)[1]), [], "missing_column", "data.id_column"),
    "binary": (lambda: corrupted(lambda b: bytes(range(1, 256)) * 16), [], "unreadable", "t.csv"),
    "semicolons": (lambda: corrupted(lambda b: b.replace(b",", b";")), [], "wrong_separator", "t.csv"),
    "a column twice": (lambda: corrupted(lambda b: b.replace(b"f1", b"f0", 1)), [], "duplicate_column", "f0"),
    "no parquet": (lambda: str(Path(corrupted(lambda b: b)).rename("t.parquet")), [], "unreadable", "t.parquet"),
    "no id column": (lambda: write(make_frame()), ["data.id_column=name"], "missing_column", "data.id_column"),
    "no label": (lambda: write(make_frame()), ["data.label_column=lable"], "missing_column", "data.label_column"),
    "no group": (lambda: write(make_frame()), ["data.group_column=artist"], "missing_column", "data.group_column"),
    "no split": (lambda: write(make_frame()), ["data.split_column=fold"], "missing_column", "data.split_column"),
    "no ignored": (lambda: write(make_frame()), ["data.ignore_columns=[x]"], "missing_column", "data.ignore_columns"),
    "text": (lambda: write(frame_with(mood="sad")), [], "not_numeric", "mood"),
    "one bad cell": (lambda: corrupted(lambda b: b.replace(b",0.", b",o.", 1)), [], "not_numeric", None),
    "no features": (lambda: write(make_frame()[["track_id", "label"]]), [], "no_features", "t.csv"),
    "one class": (one_class, [], "one_class", "data"),
    "one training class": (one_training_class, ["data.split_column=split"], "one_training_class", "train"),
    "no valid": (lambda: with_test_and("train"), ["data.split_column=split"], "empty_split", "valid"),
    "no train": (lambda: with_test_and("valid"), ["data.split_column=split"], "empty_split", "train"),
    "odd split": (lambda: with_test_and("dev2"), ["data.split_column=split"], "invalid_split", "data.split_column"),
    "too few": (lambda: write(make_frame(3)), [], "empty_split", "valid"),
    "duplicate ids": (lambda: write(frame_with(track_id="t1")), [], "duplicate_ids", "track_id"),
    "an id missing": (lambda: write(frame_with(track_id=[None, *range(89)])), [], "missing_ids", "track_id"),
    "no groups": (lambda: write(make_frame()), ["data/split=grouped"], "no_groups", "data/split"),
    "all test": (
        lambda: write(make_frame()),
        ["data.split.valid=0.5", "data.split.test=0.5"],
        "no_training_fraction",
        "data.split",
    ),
    "missing values": (lambda: write(make_frame()), ["data.on_missing=error"], "missing_features", "data.on_missing"),
}


def settings_of(overrides: list[str]) -> dict[str, Any]:
    """The arguments of TableFile that overrides set."""
    split: dict[str, Any] = {"protocol": "auto"}
    settings: dict[str, Any] = {"split": split}
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "data/split":
            split["protocol"] = value
        else:
            target = split if key.startswith("data.split.") else settings
            target[key.rpartition(".")[2]] = yaml.safe_load(value)
    return settings


@pytest.mark.parametrize("name", BAD)
def test_invalid_input_is_one_problem(name, here):
    make, overrides, kind, key = BAD[name]
    path = make()
    with pytest.raises(DataError) as caught:
        opened(path, **settings_of(overrides))
    (problem,) = caught.value.problems
    assert path in problem.message
    assert "\n" not in problem.message
    assert problem.kind == kind
    assert key is None or problem.key in (key, str(here / key))


@pytest.mark.parametrize(
    "name", ["truncated", "a column twice", "no label", "one bad cell", "odd split", "no groups", "missing values"]
)
def test_invalid_input_is_reported_in_one_line_and_nothing_is_written(name, run, here):
    make, overrides, kind, key = BAD[name]
    path = make()
    result = run("train", "data=table", f"data.path={path}", "model=logreg", *overrides)
    assert result.code == 2
    assert len(result.lines) == 1, result.err
    (problem,) = result.problems
    assert path in problem.message
    assert problem.kind == kind
    assert key is None or problem.key in (key, str(here / key))
    assert not (here / "outputs").exists()


def test_errors_name_the_remedy(here):
    with pytest.raises(DataError) as caught:
        opened(write(frame_with(mood="sad")))
    assert caught.value.problems[0].suggestion == 'data.ignore_columns=["mood"]'
    with pytest.raises(DataError, match=r"\blabel\b"):
        opened(write(make_frame()), label_column="lable")


@pytest.mark.parametrize("path", ["nowhere.csv", "folder"])
def test_a_missing_file(path, here):
    (here / "folder").mkdir()
    with pytest.raises(DatasetNotFoundError) as caught:
        opened(path)
    assert (caught.value.kind, caught.value.key) == ("file_not_found", path)


def test_unwritable_output_is_one_line(run, table, here):
    (here / "outputs").write_text("a file where the folder should be")
    result = run("train", "data=table", f"data.path={table}", "data.ignore_columns=[split]", "model=logreg")
    assert result.code == 2
    assert len(result.lines) == 1
    assert "outputs/table-logreg" in result.lines[0]


def test_a_duplicate_id_is_counted_once(here):
    frame = make_frame()
    frame.loc[5, "track_id"] = frame.track_id[4]
    with pytest.raises(DataError, match="t004") as caught:
        opened(write(frame))
    assert (caught.value.kind, caught.value.problems[0].value) == ("duplicate_ids", 1)


def test_csv_and_parquet_are_equivalent(here):
    frame = make_frame(groups=6)
    frame.to_parquet("t.parquet")
    csv, parquet = (opened(p, group_column="artist") for p in (write(frame), "t.parquet"))
    assert csv.fingerprint() == parquet.fingerprint()
    assert csv.columns == parquet.columns == [f"f{i}" for i in range(6)]
    pd.testing.assert_frame_equal(csv.tracks, parquet.tracks)
    assert np.allclose(csv.x, frame[csv.columns].to_numpy(np.float32), equal_nan=True)


@pytest.mark.parametrize("name", ["t.csv", "twice.csv", "t.parquet"])
def test_an_index_written_by_pandas_is_not_a_feature(name, here):
    frame = make_frame()
    frame.index = pd.Index(np.arange(len(frame))[::-1])
    if name == "t.parquet":
        frame.to_parquet(name)
        assert "__index_level_0__" in read_schema(name).names
    else:
        frame.to_csv(name)
    if name == "twice.csv":
        pd.read_csv(name).to_csv(name)
        assert Path(name).read_text().startswith(",Unnamed: 0,track_id")
    data = opened(name)
    assert data.columns == [f"f{i}" for i in range(6)]
    assert data.fingerprint() == opened(write(make_frame(), "plain.csv")).fingerprint()
    assert any("unnamed" in note for note in data.notes)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_integers_and_booleans_may_be_missing(name, here):
    frame = frame_with(
        count=pd.array([None, 7, -3] * 30, dtype="Int64"), live=pd.array([True, None, False] * 30, dtype="boolean")
    )
    frame.to_parquet(name) if name == "t.parquet" else frame.to_csv(name, index=False)
    data = opened(name)
    x = dict(zip(data.columns, data.x.T, strict=True))
    assert np.array_equal(x["count"], np.tile([np.nan, 7, -3], 30), equal_nan=True)
    assert np.array_equal(x["live"], np.tile([1, np.nan, 0], 30), equal_nan=True)


def test_a_path_may_start_with_the_home_folder(run, table, here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.chdir("/")
    command = ["train", *table_overrides('"~/features.csv"'), "model=logreg", 'paths.outputs="~/outputs"']
    assert run(*command).code == 0
    assert run(*command).code == 0  # the finished run is found
    assert Run.open(only_run(here)).metrics["valid"]["n"] == 18


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks(line_end, mark, here):
    text = make_frame().to_csv(index=False)
    Path("t.csv").write_bytes((mark + text).replace("\n", line_end).encode())
    assert opened("t.csv").fingerprint() == opened(write(make_frame(), "u.csv")).fingerprint()


def test_the_order_of_rows_does_not_change_the_split(here):
    frame = make_frame(groups=7)
    in_order = opened(write(frame), group_column="artist").tracks.set_index("track_id").split
    shuffled = (
        opened(write(frame.sample(frac=1, random_state=1), "u.csv"), group_column="artist")
        .tracks.set_index("track_id")
        .split
    )
    assert in_order.sort_index().equals(shuffled.sort_index())


def test_missing_labels_and_features_are_counted(here):
    frame = make_frame()
    frame[["f0", "f1"]] = 1.0
    features = [f"f{i}" for i in range(6)]
    frame[features] = frame[features].fillna(0.0)
    frame.loc[[1, 2], "label"] = None
    frame.loc[3, "label"] = "  "
    frame.loc[[10, 11, 12], features] = np.nan
    frame.loc[[20, 21], "f0"] = np.inf
    frame.loc[22, "f3"] = np.nan
    for policy, tracks, noted in (("impute", 84, True), ("drop", 81, False)):
        data = opened(write(frame), on_missing=policy)
        assert len(data.tracks) == tracks == len(data.x)
        assert data.dropped["without a label"] == 3
        assert data.dropped["without a single finite feature"] == 3
        assert data.dropped.get("with missing or infinite features", 0) == (3 if policy == "drop" else 0)
        assert any(note.startswith("3 tracks") for note in data.notes) == noted
        assert not np.isinf(data.x).any()


def test_values_beyond_float32_count_as_missing(here):
    frame = make_frame()
    frame.loc[4, "f2"] = 1e300
    data = opened(write(frame))
    assert np.isnan(data.x[data.tracks.track_id == "t004", 2]).all()


def test_batches_depend_on_seed_and_epoch(here):
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


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_without_a_value_is_missing_everywhere(here, run, ending):
    frame = frame_with(empty=None)
    path = write(frame) if ending == "csv" else "t.parquet"
    if ending == "parquet":
        frame.to_parquet(path)
    data = opened(path)
    assert np.isnan(data.arrays("train")[1][:, data.columns.index("empty")]).all()
    for model in ("logreg", "mlp") if ending == "csv" else ():
        result = run(
            "train", "data=table", f"data.path={path}", f"model={model}", f"run_dir={model}", "trainer.max_epochs=2"
        )
        assert result.code == 0, result.err
        assert Run.open(here / model).predictions("valid").probabilities().min() >= 0


def test_the_number_of_columns_is_not_squared(here):
    """openSMILE's ComParE set has 6,373 columns."""
    frame = pd.concat(
        [make_frame(12), pd.DataFrame(np.zeros((12, 8000)), columns=[f"c{i}" for i in range(8000)])], axis=1
    )
    path = write(frame)
    start = time.process_time()
    assert opened(path).arrays("train")[1].shape[1] == 8006
    assert time.process_time() - start < 8  # quadratic: 60 s and more
