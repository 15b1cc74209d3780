"""Cross-validates the presets of conf/model/ on training data: `python -m tools.presets --out FILE.csv`.

Six folds, grouped by artist (by album where artists are unknown, else stratified by genre): four for training, one for early
stopping and the choice of the epoch, one to score. Test tracks are never read. `--table` and `--model` select; further arguments are
overrides, such as `model.max_depth=4`.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from sklearn.model_selection import StratifiedGroupKFold

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.factory import build_classifier
from musicreclass.config.check import train_settings
from musicreclass.config.settings import TrainSettings
from musicreclass.data.table import TableData
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.features import fma518
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.tasks.open_data import open_data

FOLDS = 6
MODELS = ("logreg", "svm", "random_forest", "xgboost", "mlp")
TABLES: dict[str, list[str]] = {  # overrides that open the table; data.root is set by MUSICRECLASS_DATA
    "gtzan57": ["data=gtzan_features"],
    "musicnn200": ["data=gtzan", "data.root=${paths.data}/GTZAN_excerpts", "features=musicnn"],
    "musicnn_tags": ["data=gtzan", "data.root=${paths.data}/GTZAN_excerpts", "features=musicnn", "features.layer=tags"],
    "excerpts518": ["data=gtzan", "data.root=${paths.data}/GTZAN_excerpts", "model=cnn"],
    "fma_mfcc": ["data=fma_features", "data.feature_sets=[mfcc]"],
    "demo": ["data=demo"],
    "synthetic": [],
    "synthetic_5000": [],
    "synthetic_1000": [],
}
SYNTHETIC_ROWS = {"synthetic": 20_000, "synthetic_5000": 5_000, "synthetic_1000": 1_000}


class Rows:
    """Rows with targets and groups."""

    def __init__(self, x: np.ndarray, y: np.ndarray, group: np.ndarray) -> None:
        self.x, self.y, self.group = x, y, group


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
        known = tracks[column].notna()
        if known.mean() > 0.5:
            group = tracks[column].where(known, tracks.track_id)
            return Rows(x, tracks.target.to_numpy(str), group.to_numpy(str))
    return Rows(x, tracks.target.to_numpy(str), tracks.track_id.to_numpy(str))


def clip_features(path: str) -> np.ndarray:
    """The 518 features of one recording."""
    audio, rate = soundfile.read(path)
    return fma518.compute(audio, rate)


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


def score(settings: TrainSettings, rows: Rows, split: np.ndarray) -> tuple[float, float, int, dict[str, object]]:
    """Accuracy on the scored fold, seconds of the fit, training rows, and what the fit reports."""
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
    return correct, seconds, data.size("train"), classifier.fit_summary


def main() -> None:
    """Score each preset on each table, a line of CSV per fold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", nargs="+", default=list(TABLES), choices=TABLES)
    parser.add_argument("--model", nargs="+", default=list(MODELS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--folds", type=int, default=FOLDS, help="score only the first folds")
    parser.add_argument("--name", default="preset")
    arguments, overrides = parser.parse_known_args()
    warnings.filterwarnings("ignore")
    with arguments.out.open("a", newline="") as file:
        writer = csv.writer(file)
        for table in arguments.table:
            for model in arguments.model:
                for repeat in range(arguments.repeats):
                    settings = train_settings([f"model={model}", f"seed={repeat}", "hardware=cpu", *overrides])
                    results = []
                    for i, split in enumerate(folds(load(table), repeat)):
                        if i < arguments.folds:
                            correct, seconds, n, summary = score(settings, load(table), split)
                            writer.writerow([table, model, arguments.name, repeat, i, n, correct, seconds])
                            results.append((correct, seconds))
                    file.flush()
                    mean, seconds = np.mean(results, axis=0)
                    print(
                        f"{table:15}{model:15}{arguments.name:20}{repeat} {100 * mean:5.1f} {seconds:7.2f} s {n} {summary}"
                    )


if __name__ == "__main__":
    main()
