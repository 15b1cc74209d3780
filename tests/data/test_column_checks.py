"""Columns that are no features: row numbers, ids, split codes and class codes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from musicreclass.data.column_checks import (
    CLASS_CODES,
    IDS,
    ROW_NUMBERS,
    SPLIT_CODES,
    accuracies_alone,
    suspicious_columns,
)
from musicreclass.data.sources.gtzan import GTZANFeatures
from musicreclass.data.sources.table_file import TableFile
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.errors import DataError

N = 120
RANDOM = np.random.default_rng(0)
LABELS = np.repeat(["blues", "jazz", "rock"], N // 3)
CODES = pd.factorize(LABELS)[0]
PARTS = np.array(["train", "train", "valid", "test"])[np.arange(N) % 4]
PLANTS = {  # a column that is no feature, its name, and its mark
    "row numbers": (np.arange(N), "index", ROW_NUMBERS),
    "shuffled row numbers": (RANDOM.permutation(N) + 7, "n", ROW_NUMBERS),
    "scaled row numbers": ((np.arange(N) - 60) / 34.6, "position", ROW_NUMBERS),
    "rising ids": (np.cumsum(RANDOM.integers(1, 900, N)), "key", ROW_NUMBERS),
    "row numbers of two files": (np.arange(N) % 60, "row", ROW_NUMBERS),
    "ids": (RANDOM.choice(300, N, replace=False), "x1", IDS),
    "named ids": (RANDOM.choice(10**7, N, replace=False), "track_id2_id", IDS),
    "codes of the split": (pd.factorize(PARTS)[0], "part", SPLIT_CODES),
    "another split": (RANDOM.integers(0, 5, N), "fold", SPLIT_CODES),
    "codes of the class": (CODES, "y", CLASS_CODES),
    "one class": (CODES == 1, "is_jazz", CLASS_CODES),
    "codes with noise": (CODES + 0.01 * RANDOM.standard_normal(N), "score", CLASS_CODES),
}


def noise(seed: int = 0, features: int = 12) -> pd.DataFrame:
    x = np.random.default_rng(seed).standard_normal((N, features))
    return pd.DataFrame(x, columns=[f"f{i}" for i in range(features)])


def frame(**columns) -> pd.DataFrame:
    ids = pd.DataFrame({"track_id": [f"t{i:03d}" for i in range(N)], "label": LABELS, "part_of": PARTS})
    return pd.concat([ids, noise(), pd.DataFrame(columns)], axis=1)


def opened(table: pd.DataFrame, index: bool = False, **settings) -> TableFile:
    table.to_csv("t.csv", index=index)
    data = TableFile("t.csv", {"protocol": "auto"}, split_column="part_of", **settings)
    data.setup()
    return data


@pytest.mark.parametrize("plant", PLANTS)
def test_a_column_that_is_no_feature_is_refused_ignored_or_kept(here, plant):
    values, name, mark = PLANTS[plant]
    table = frame(**{name: np.asarray(values, float)})
    with pytest.raises(DataError) as caught:
        opened(table)
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.value) == ("suspicious_columns", "data.ignore_columns", [name])
    assert problem.suggestion == f'data.ignore_columns=["{name}"]'
    ignored = opened(table, ignore_columns=[name])
    assert (name in ignored.columns, ignored.protocol.cautions) == (False, {})
    used = opened(table, keep_columns=[name])
    assert name in used.columns
    assert {m: name in text for m, text in used.protocol.cautions.items()} == {mark: True}


def test_the_command_line_names_columns_and_remedy(run, here):
    frame(index=np.arange(N), genre_id=CODES).to_csv("t.csv", index=False)
    command = ["train", "data=table", "data.path=t.csv", "data.split_column=part_of", "model=logreg"]
    result = run(*command)
    assert (result.code, result.problems[0].value) == (2, ["index", "genre_id"])
    assert result.problems[0].suggestion in result.err
    assert run(*command, "data.ignore_columns=[index]", "data.keep_columns=[genre_id]").code == 0


def test_columns_without_a_name_are_left_out_of_every_table(here):
    table = frame()
    for _ in range(3):
        table.to_csv("t.csv")
        table = pd.read_csv("t.csv")
    data = opened(table, index=True)
    assert data.columns == [f"f{i}" for i in range(12)]
    assert any("Unnamed: 0" in note for note in data.notes)

    class Custom(TableSource):
        def read(self):
            x = np.column_stack([np.arange(N), noise()])
            return FeatureTable(table.track_id, LABELS, x, ["Unnamed: 0", *(f"f{i}" for i in range(12))])

    custom = Custom({"protocol": "random"})
    custom.setup()
    assert custom.columns == data.columns
    with pytest.raises(DataError) as caught:
        Custom({"protocol": "random"}, keep_columns=["f99"]).setup()
    assert (caught.value.kind, caught.value.key) == ("missing_column", "data.keep_columns")


def test_gtzans_table_saved_with_its_index(real_data, tmp_path):
    original = real_data / "GTZAN" / "Data" / "features_30_sec.csv"
    (tmp_path / "Data").mkdir()
    pd.read_csv(original).to_csv(tmp_path / "Data" / original.name)
    plain, saved = (
        GTZANFeatures(str(root), {"protocol": "fault_filtered"}) for root in (original.parents[1], tmp_path)
    )
    for data in (plain, saved):
        data.setup()
        assert data.protocol.cautions == {}
    assert saved.columns == plain.columns
    assert saved.notes != plain.notes


def test_features_are_no_ids():
    """Whole numbers, rare and constant columns, missing values, separable classes, and a table sorted by a feature."""
    random = np.random.default_rng(1)
    for n in (30, 300, 3000):
        split = random.choice(["train", "valid", "test"], n).astype(object)
        target = random.choice(["blues", "jazz"], n).astype(object)
        duration = np.sort(random.normal(size=n))
        columns = {
            "sorted": duration, "bpm": random.integers(60, 200, n), "key": random.integers(0, 12, n), "zero": np.zeros(n),
            "milliseconds": random.integers(150_000, 400_000, n), "rare": random.random(n) < 0.02, "valid": random.random(n) < 0.5,
            "missing": np.where(random.random(n) < 0.5, np.nan, np.arange(n)), "good": (target == "jazz") + random.normal(size=n) / 4,
        }  # fmt: skip
        x = np.column_stack(list(columns.values())).astype(np.float32)
        suspicions = suspicious_columns(x, list(columns), np.arange(n), target, split, np.full(n, None))
        assert [s for s in suspicions if s.certain] == []


def test_a_value_of_each_artist_does_not_tell_the_class():
    """Tracks of an artist share it, but new artists do not: it is cross-validated without dividing artists."""
    artist = np.repeat(np.arange(40), 6)
    values = np.random.default_rng(2).normal(size=40)[artist]
    x = np.column_stack([values, np.random.default_rng(3).normal(size=(240, 20))]).astype(np.float32)
    target = np.array(["blues", "jazz", "rock"], object)[artist % 3]
    split, group = np.full(240, "train", object), artist.astype(str).astype(object)
    assert suspicious_columns(x, [f"f{i}" for i in range(21)], np.arange(240), target, split, group) == []


def test_a_fold_with_few_classes_is_not_compared():
    """A constant value is right about the only class that both folds have."""
    fold = np.array([0, 1, 0, 0, 1, 1])
    codes = np.array([0, 0, 1, 2, 3, 4])
    assert accuracies_alone(np.zeros((6, 1)), codes, fold) == 0
    assert accuracies_alone(np.zeros((4, 1)), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == 0.5
