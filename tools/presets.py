"""Cross-validates the presets of conf/model/ on training data, before and after the change of this version.

`MUSICRECLASS_DATA=DIR python -m tools.presets FILE.csv`; DIR holds GTZAN/, GTZAN_excerpts/ and FMA/. Six folds, grouped by artist (by
album where artists are unknown, else stratified by genre): four for training, one for early stopping and the choice of the epoch, one
to score. Test tracks are not used.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.factory import build_classifier
from musicreclass.config.check import train_settings
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.data.table import TableData
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.features.fma518.extraction import extract_file
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.tasks.open_data import open_data

FOLDS = 6
BOOSTING = ("n_estimators=500", "learning_rate=0.3", "max_depth=6", "subsample=1.0", "colsample_bytree=1.0", "early_stopping_rounds=25")  # fmt: skip
BEFORE: dict[str, list[str]] = {  # the presets of the previous version, as overrides; empty if unchanged
    "logreg": [],
    "svm": ["model.cv=3"],
    "random_forest": [],
    "xgboost": [f"model.{value}" for value in BOOSTING],
    "mlp": ["model.dropout=0.3", "trainer.batch_size=64"],
}
TABLES: dict[str, list[str]] = {  # overrides that open the table; data.root is set by MUSICRECLASS_DATA
    "gtzan57": ["data=gtzan_features"],
    "musicnn200": ["data=gtzan", "data.root=${paths.data}/GTZAN_excerpts", "features=musicnn"],
    "musicnn_tags": ["data=gtzan", "data.root=${paths.data}/GTZAN_excerpts", "features=musicnn", "features.layer=tags"],
    "excerpts518": ["data=gtzan", "data.root=${paths.data}/GTZAN_excerpts", "model=cnn"],
    "fma_mfcc": ["data=fma_features", "data.feature_sets=[mfcc]"],
    "demo": ["data=demo"],
    "synthetic_5000": [],
    "synthetic_20000": [],
}
SYNTHETIC_ROWS = {"synthetic_5000": 5_000, "synthetic_20000": 20_000}


@dataclass(frozen=True)
class Rows:
    """Features, class names and groups of the rows of a table."""

    x: np.ndarray
    y: np.ndarray
    group: np.ndarray


class Fold(TableSource):
    """One division of a table into train, valid and test."""

    def __init__(self, rows: Rows, split: np.ndarray) -> None:
        super().__init__({"protocol": "column"})
        self.content, self.division = rows, split

    def files(self) -> list[Path]:
        """None: the rows are in memory."""
        return []

    def read(self) -> FeatureTable:
        """The rows, with the division as their split."""
        columns = [f"f{i}" for i in range(self.content.x.shape[1])]
        x, n = self.content.x.copy(), len(self.content.y)
        return FeatureTable(np.arange(n), self.content.y, x, columns, {"split": self.division})


@cache
def load(table: str) -> Rows:
    """The training and validation tracks of a table."""
    if table in SYNTHETIC_ROWS:
        return synthetic(SYNTHETIC_ROWS[table])
    settings = train_settings(TABLES[table])
    data = open_data(settings, resolve_profile(settings.hardware))
    tracks = data.tracks[data.tracks.split.isin(["train", "valid"])]
    x = data.x[tracks.index] if isinstance(data, TableData) else np.stack([clip_features(path) for path in tracks.path])
    for column in ("group", "album"):
        named = tracks[column].notna()
        if named.mean() > 0.5:
            group = tracks[column].where(named, tracks.track_id)
            return Rows(x, tracks.target.to_numpy(str), group.to_numpy(str))
    return Rows(x, tracks.target.to_numpy(str), tracks.track_id.to_numpy(str))


def clip_features(path: str) -> np.ndarray:
    """The 518 features of one recording."""
    return extract_file(path)


def synthetic(rows: int, features: int = 518, classes: int = 16, styles: int = 4) -> Rows:
    """Classes of unequal size, each of several styles, in correlated features with heavy tails; a tenth of the labels are wrong."""
    rng = np.random.default_rng(0)
    frequencies = 1 / np.arange(1, classes + 1)
    y = rng.choice(classes, 20_000, p=frequencies / frequencies.sum())
    style = rng.integers(0, styles, len(y))
    factors = rng.standard_normal((classes, styles, 40)) * 0.7
    loadings = rng.standard_normal((40, features)) / np.sqrt(10)
    hidden = factors[y, style] + rng.standard_normal((len(y), 40))
    x = hidden @ loadings + rng.standard_t(4, (len(y), features))
    x[:, ::5] = np.exp(np.clip(x[:, ::5], -5, 5))
    wrong = rng.random(len(y)) < 0.1
    y[wrong] = rng.integers(0, classes, wrong.sum())
    names = np.array([f"c{k:02d}" for k in range(classes)])
    return Rows(x[:rows].astype(np.float32), names[y[:rows]], np.arange(rows).astype(str))


def folds(rows: Rows, repeat: int) -> Iterator[np.ndarray]:
    """The splits of each fold: fold i is scored, the next one validates."""
    division = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
    number = np.empty(len(rows.y), int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, (_, scored) in enumerate(division.split(rows.x, rows.y, rows.group)):
            number[scored] = i
    for i in range(FOLDS):
        offset = (number - i) % FOLDS
        yield np.where(offset == 0, "test", np.where(offset == 1, "valid", "train"))


def score(settings: TrainSettings, rows: Rows, split: np.ndarray) -> tuple[float, float, int]:
    """Accuracy on the scored fold, seconds of the fit, and the number of training tracks."""
    data = Fold(rows, split)
    data.setup("fit")
    profile = resolve_profile(settings.hardware)
    classifier = build_classifier(settings, profile, data)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        classifier.fit(data, Workspace(Path(folder), lambda epoch, values: None))
        seconds = time.perf_counter() - start
    _, x, y = data.arrays("test")
    correct = float((classifier.predict_proba(x).argmax(1) == y).mean())
    return correct, seconds, data.size("train")


def cross_validate(tables: list[str], models: list[str], repeats: int, limit: int, out: Path) -> None:
    """Append a line for each fit: table, model, before or after, repeat, fold, training tracks, accuracy, seconds."""
    for table, model, repeat in product(tables, models, range(repeats)):
        for fold, split in enumerate(list(folds(load(table), repeat))[:limit]):
            for name, overrides in (("before", BEFORE[model]), ("after", [])):
                if name == "after" or overrides:
                    settings = train_settings([f"model={model}", f"seed={repeat}", "hardware=cpu", *overrides])
                    accuracy, seconds, tracks = score(settings, load(table), split)
                    with out.open("a", newline="") as file:
                        csv.writer(file).writerow(
                            [table, model, name, repeat, fold, tracks, accuracy, round(seconds, 2)]
                        )


def markdown(file: Path) -> str:
    """Mean accuracies in percent, with the difference and its standard error over folds where a preset has changed."""
    columns = ["table", "model", "name", "repeat", "fold", "tracks", "accuracy", "seconds"]
    scores = pd.read_csv(file, names=columns).drop_duplicates(columns[:5], keep="last")
    lines = ["| table | training tracks | preset | folds | before | after | difference |", "|" + " --- |" * 7]
    for (table, model), rows in scores.groupby(["table", "model"], sort=False):
        by_name = rows.pivot(index=["repeat", "fold"], columns="name", values="accuracy") * 100
        after, cells = by_name["after"], ["", ""]
        if "before" in by_name:
            difference = (after - by_name["before"]).dropna()
            cells = [f"{by_name['before'].mean():.1f}"]
            cells.append(f"{difference.mean():+.1f} ±{difference.std() / np.sqrt(len(difference)):.1f}")
        result = f"{after.mean():.1f} (sd {after.std():.1f})"
        lines.append(
            f"| {table} | {rows.tracks.median():.0f} | {model} | {len(after)} | {cells[0]} | {result} | {cells[1]} |"
        )
    return "\n".join(lines).replace("nan", "-")


def main() -> None:
    """Cross-validate, or only print the table of a file that exists."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="CSV file; results are appended")
    parser.add_argument("--table", nargs="*", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--model", nargs="*", default=list(BEFORE), choices=list(BEFORE))
    parser.add_argument("--repeats", type=int, default=1, help="divisions into folds, each with its own seed")
    parser.add_argument("--folds", type=int, default=FOLDS, help="score only the first folds")
    parser.add_argument("--print", action="store_true", help="only print the table of the file")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    if not arguments.print:
        cross_validate(arguments.table, arguments.model, arguments.repeats, arguments.folds, arguments.out)
    print(markdown(arguments.out))


if __name__ == "__main__":
    main()
