"""Calibration, thresholds and novelty on GTZAN's excerpts, with five folds of artists; needs MUSICRECLASS_TEST_DATA.

For each features and model: the calibration error of validation tracks before and after; accuracy and coverage on the test fold
of the threshold that promises 80 and 90 %; and the share of tracks that novelty rejects among test tracks (false alarms), among
synthesised speech, noise, tones and silence, and among the tracks of a genre that was left out of training.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from musicreclass.classifiers.novelty import Novelty
from musicreclass.config.check import train_settings
from musicreclass.data.table import TableData
from musicreclass.evaluation.calibration import calibrate, calibrated, calibration_error
from musicreclass.evaluation.coverage import confidence_threshold, coverage_curve
from musicreclass.evaluation.predictions import Predictions
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.tasks.open_data import open_data

FOLDS, SOUNDS, SECONDS, RATE = 5, 20, 3.0, 22050
FEATURES = os.environ.get("FEATURES", "fma518,musicnn").split(",")


def speech(rng: np.random.Generator, n: int) -> np.ndarray:
    """Syllables of vowels (pulses through three formants) and noise, with pauses."""
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < n:
        length, kind = int(RATE * rng.uniform(0.08, 0.25)), rng.random()
        pitch = np.full(length, rng.uniform(85, 220) / RATE)
        samples = 0.1 * rng.normal(size=length) if kind < 0.3 else np.diff(np.floor(np.cumsum(pitch)), prepend=0)
        for formant in (rng.uniform(300, 750), rng.uniform(900, 2200), 2500) if kind >= 0.3 else ():
            samples = lfilter([0.1], [1, -2 * 0.97 * np.cos(2 * np.pi * formant / RATE), 0.97**2], samples)
        parts.append(np.zeros(length) if kind < 0.15 else np.hanning(length) * samples / (np.abs(samples).max() + 1e-9))
    return 0.5 * np.concatenate(parts)[:n]


def synthesise(folder: Path) -> None:
    """Write recordings of sounds that are no music, a folder for each kind."""
    rng, n = np.random.default_rng(0), int(SECONDS * RATE)
    time = np.arange(n) / RATE
    kinds = {
        "silence": lambda: np.zeros(n),
        "white": lambda: rng.uniform(0.02, 0.2) * rng.normal(size=n),
        "pink": lambda: 0.1 * lfilter([0.05], [1, -0.95], rng.normal(size=n)) / 0.16,
        "tone": lambda: 0.5 * np.sin(2 * np.pi * 10 ** rng.uniform(2, 3.6) * time),
        "speech": lambda: speech(rng, n),
    }
    for kind, make in kinds.items():
        (folder / kind).mkdir()
        for i in range(SOUNDS):
            soundfile.write(folder / kind / f"{kind}{i}.wav", make().clip(-1, 1), RATE)


def table(*overrides: str) -> TableData:
    """The opened data."""
    settings = train_settings(list(overrides))
    data = open_data(settings, resolve_profile(settings.hardware))
    assert isinstance(data, TableData)
    return data


def fold_numbers(groups: np.ndarray) -> np.ndarray:
    """The fold of each track."""
    fold = np.empty(len(groups), int)
    for number, (_, rows) in enumerate(GroupKFold(FOLDS).split(groups, groups=groups)):
        fold[rows] = number
    return fold


def measure(features: str, root: Path, sounds: Path) -> None:
    """Print all figures for one kind of features."""
    data = table("data=gtzan", f"data.root={root}", "data/split=grouped", f"features={features}")
    ids, x, y = data.arrays("all")
    groups = data.tracks.group.fillna(data.tracks.track_id).to_numpy(str)
    other = table("data=folder", f"data.root={sounds}", "data/split=random", f"features={features}")
    other_x, other_y = other.arrays("all")[1:]
    fold, rejected, tested = fold_numbers(groups), [], []
    rows = {name: [] for name in ("ece before", "ece cross-fitted", "ece of test before", "ece of test after")}
    left_out: list[list[float]] = []
    for test in range(FOLDS):
        valid = (test + 1) % FOLDS
        train = (fold != test) & (fold != valid)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.1)).fit(x[train], y[train])
        predictions = {
            part: Predictions.of([ids[i] for i in np.flatnonzero(fold == part)], model.predict_proba(x[fold == part]), data.classes, data.tracks)
            for part in (valid, test)
        }  # fmt: skip
        record = calibrate(predictions[valid])
        assert record is not None
        after = {part: calibrated(table, record["temperature"]) for part, table in predictions.items()}
        rows["ece before"].append(record["ece_before"])
        rows["ece cross-fitted"].append(record["ece_after"])
        for name, scored in (("ece of test before", predictions[test]), ("ece of test after", after[test])):
            probability = scored.probabilities()
            rows[name].append(calibration_error(probability.max(1), probability.argmax(1) == scored.y_true()))
        tested.append((predictions[test], after[test], after[valid]))
        novelty = Novelty.fit(x[train], x[fold == valid])
        beyond = novelty.distance(other_x) > novelty.threshold
        rejected.append([(novelty.distance(x[fold == test]) > novelty.threshold).mean(), *(beyond[other_y == k].mean() for k in range(len(other.classes)))])  # fmt: skip
        for genre in range(len(data.classes)):
            partial = Novelty.fit(x[train & (y != genre)], x[(fold == valid) & (y != genre)])
            distance = partial.distance(x)
            new, others = (y == genre) & (fold == test), (y != genre) & (fold == test)
            if new.any():
                left_out.append([(distance[new] > partial.threshold).mean(), (distance[others] > partial.threshold).mean()])  # fmt: skip
    print(f"{features}, logistic regression, {len(ids)} tracks of {len(set(groups))} artists, {FOLDS} folds")
    print("  " + "   ".join(f"{name} {100 * np.mean(values):.1f} %" for name, values in rows.items()))
    for i, name in ((0, "uncalibrated"), (1, "calibrated")):
        curves = [coverage_curve(fold_results[i]) for fold_results in tested]
        at = [np.mean([c.accuracy[np.searchsorted(c.coverage, fraction)] for c in curves]) for fraction in (0.25, 0.5, 0.75, 1)]  # fmt: skip
        print(f"  {name:13} accuracy at 25, 50, 75, 100 % coverage: {', '.join(f'{100 * a:.1f}' for a in at)}   "
              f"area {np.mean([c.area for c in curves]):.3f}")  # fmt: skip
    for precision in (0.6, 0.8, 0.9):
        thresholds = [confidence_threshold(valid_after, precision).value for _, _, valid_after in tested]
        right = labelled = 0
        for (_, scored, _), value in zip(tested, thresholds, strict=True):
            probability = scored.probabilities()
            keep = probability.max(1) >= (np.inf if value is None else value)
            labelled += int(keep.sum())
            right += int((probability.argmax(1) == scored.y_true())[keep].sum())
        fraction = f"{100 * right / labelled:.1f} % right" if labelled else "none"
        print(f"  promised {precision:.0%}: a threshold in {sum(v is not None for v in thresholds)} of {FOLDS} folds, "
              f"coverage of test {100 * labelled / len(ids):.1f} %, {fraction}")  # fmt: skip
    names = ["test tracks (false alarms)", *other.classes]
    print("  rejected: " + ", ".join(f"{n} {100 * r:.0f} %" for n, r in zip(names, np.mean(rejected, 0), strict=True)))
    new, others = np.mean(left_out, 0)
    print(f"  rejected of a genre left out {100 * new:.0f} %, of the other genres {100 * others:.0f} %", flush=True)


def main() -> None:
    root = os.environ.get("MUSICRECLASS_TEST_DATA")
    if not root:
        print("abstention: skipped, MUSICRECLASS_TEST_DATA is not set")
        return
    with tempfile.TemporaryDirectory() as scratch:
        synthesise(Path(scratch))
        for features in FEATURES:
            measure(features, Path(root) / "GTZAN_excerpts", Path(scratch))


if __name__ == "__main__":
    main()
