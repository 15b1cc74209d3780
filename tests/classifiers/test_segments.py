"""Tables of segments, which have several rows a track: what is monitored and calibrated is tracks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.calibration_folds import segment_folds
from musicreclass.classifiers.factory import build_classifier
from musicreclass.config.check import train_settings
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.evaluation.metrics import score
from musicreclass.hardware.resolution import resolve_profile


class Segments(TableSource):
    """Segments of tracks in the order of their numbers, so that those of one track are far apart.

    Args:
        targets: of each track.
        counts: segments of each track.
        noise: standard deviation of the segments of a track.
        signal: distance of the classes.
        artists: of each track.
    """

    def __init__(self, targets, counts, noise=1.0, signal=1.0, artists=None, split=None) -> None:
        super().__init__({"protocol": "column" if split else "random"})
        self.targets, self.counts, self.artists, self.splits = targets, counts, artists, split
        self.noise, self.signal = noise, signal

    def read(self) -> FeatureTable:
        rng = np.random.default_rng(0)
        n = len(self.targets)
        track = np.array(sorted(np.repeat(range(n), self.counts), key=lambda t: rng.random()))
        names = sorted({str(target) for target in self.targets})
        center = np.eye(len(names))[[names.index(str(target)) for target in self.targets]] @ np.eye(len(names), 6)
        x = self.signal * center + rng.normal(size=(n, 6))
        x = x[track] + self.noise * rng.normal(size=(len(track), 6))
        columns = {"group": self.artists, "split": self.splits}
        return FeatureTable(
            [f"t{t}" for t in track],
            [self.targets[t] for t in track],
            x.astype(np.float32),
            [f"f{i}" for i in range(6)],
            metadata={name: [values[t] for t in track] for name, values in columns.items() if values},
            segments=True,
        )


def opened(*arguments, **settings) -> Segments:
    data = Segments(*arguments, **settings)
    data.setup()
    return data


def fitted(data: Segments, folder, *overrides: str):
    values: dict[int, dict[str, float]] = {}
    chosen = train_settings([*overrides, "hardware=cpu", *(["task=multi"] if data.is_multi else [])])
    classifier = build_classifier(chosen, resolve_profile(chosen.hardware), data)
    classifier.fit(data, Workspace(folder, values.__setitem__))
    return classifier, values


TAGS = [("x",), ("y",), ("x", "y"), ("y", "z"), ("z",)]


@pytest.mark.parametrize("targets", [["a", "b", "c"], TAGS], ids=["single", "multi"])
def test_the_validation_metrics_of_a_network_are_those_of_tracks(targets, here):
    targets = (targets * 60)[:90]
    counts = [1 + i % 7 for i in range(90)]
    data = opened(targets, counts, split=[("train", "valid", "test")[i // 3 % 3] for i in range(90)])
    classifier, values = fitted(data, here, "model=mlp", "trainer.max_epochs=4", "trainer.batch_size=16")
    predictions = classifier.predict(data, "valid")
    assert len(predictions) == data.size("valid") < data.row_count("valid")
    best = values[classifier.fit_summary["best_epoch"]]
    scores = score(predictions)
    names = ("roc_auc", "pr_auc") if data.is_multi else ("accuracy", "macro_f1")
    for name in names:
        assert best[f"valid/{name}"] == pytest.approx(scores[name], abs=1e-6)
    if not data.is_multi:
        assert best["valid/loss"] == pytest.approx(scores["log_loss"], rel=1e-4)


def test_a_calibration_does_not_calibrate_on_segments_of_tracks_it_was_fitted_on(here):
    """The classes do not differ, but segments of a track are almost equal: nothing can be known about another track."""
    targets = ["a", "b"] * 60
    data = opened(targets, [6] * 120, noise=0.01, signal=0.0, split=["train"] * 90 + ["valid"] * 30)
    classifier, _ = fitted(data, here, "model=svm", "model.cv=3", "model.estimator.C=1000")
    assert classifier.predict(data, "valid").probabilities().max(axis=1).mean() < 0.65
    assert classifier.pipeline[-1].cv == 3  # as saved


@given(
    counts=st.lists(st.integers(1, 4), min_size=12, max_size=40),
    artists=st.lists(st.integers(0, 12), min_size=40, max_size=40),
    known_share=st.floats(0, 1),
    n=st.integers(2, 3),
)
@settings(max_examples=40, deadline=None)
def test_folds_of_segments(counts, artists, known_share, n):
    tracks = len(counts)
    names = [f"artist {a}" if i < known_share * tracks else None for i, a in enumerate(artists[:tracks])]
    data = opened(
        [*"ab"] * (tracks // 2) + ["a"] * (tracks % 2),
        counts,
        artists=names if any(names) else None,
        split=["valid" if i in (0, 1) else "train" for i in range(tracks)],
    )
    ids, _, y = data.arrays("train")
    folds = segment_folds(data, y, n)
    assert len(folds) == n
    assert sorted(np.concatenate([rows for _, rows in folds]).tolist()) == list(range(len(y)))
    for fit, calibrate in folds:
        assert sorted([*fit, *calibrate]) == list(range(len(y)))
        assert set(y[fit]) == {0, 1}
        assert {ids[row] for row in fit}.isdisjoint({ids[row] for row in calibrate})


def test_folds_of_segments_do_not_divide_artists(here):
    artists = [f"artist {i // 4}" for i in range(48)]
    data = opened([*"ab"] * 24, [3] * 48, artists=artists, split=["train"] * 40 + ["valid"] * 8)
    ids, _, y = data.arrays("train")
    artist = data.labels().set_index("track_id").group
    for fit, calibrate in segment_folds(data, y, 5):
        assert {artist[ids[row]] for row in fit}.isdisjoint({artist[ids[row]] for row in calibrate})
