"""The preset of conf/model/xgboost.yaml against XGBoost's defaults at equal rounds: 20,000 x 518 x 16, 100 rounds."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import xgboost

from musicreclass.config.auto import Sizes, resolve_auto
from musicreclass.config.check import train_settings

TRACKS, VALID, FEATURES, CLASSES, ROUNDS, REPEATS = 20_000, 4_000, 518, 16, 100, 1


def make() -> tuple[np.ndarray, np.ndarray]:
    """Classes of unequal size with different means in a hundred of the features."""
    rng = np.random.default_rng(0)
    frequencies = 1 / np.arange(1, CLASSES + 1)
    y = rng.choice(CLASSES, TRACKS + VALID, p=frequencies / frequencies.sum())
    means = np.zeros((CLASSES, FEATURES))
    means[:, :100] = rng.normal(size=(CLASSES, 100)) * 0.35
    return (means[y] + rng.standard_normal((len(y), FEATURES))).astype(np.float32), y


def fit(settings: dict[str, Any], x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Seconds of the fit, and accuracy on the rest."""
    start = time.perf_counter()
    model = xgboost.XGBClassifier(n_estimators=ROUNDS, **settings).fit(x[:TRACKS], y[:TRACKS])
    took = time.perf_counter() - start
    return took, float((model.predict(x[TRACKS:]) == y[TRACKS:]).mean())


def main() -> None:
    model = resolve_auto(train_settings(["model=xgboost"]), Sizes(TRACKS, FEATURES, CLASSES, 100)).model
    preset = model.arguments(*model.about, "n_estimators", "early_stopping_rounds", "n_jobs")
    x, y = make()
    presets: dict[str, dict[str, Any]] = {"XGBoost's defaults": {}, "preset": preset}
    fits: dict[str, list[tuple[float, float]]] = {name: [] for name in presets}
    for _ in range(REPEATS):
        for name, settings in presets.items():
            fits[name].append(fit(settings, x, y))
    print(f"XGBoost, {TRACKS:,} x {FEATURES} x {CLASSES}, {ROUNDS} rounds, {REPEATS} repeat(s)")
    base = statistics.median(t for t, _ in fits["XGBoost's defaults"])
    for name, results in fits.items():
        seconds, accuracy = (statistics.median(column) for column in zip(*results, strict=True))
        print(f"  {name:<20}{seconds:8.1f} s   {base / seconds:5.2f} x as fast   accuracy {100 * accuracy:.1f} %")


if __name__ == "__main__":
    main()
