"""Coverage of the 95 % intervals and false positives of the paired tests, in simulated designs; docs/statistics.md has the table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from musicreclass.evaluation import resampling
from musicreclass.evaluation.intervals import Sample
from musicreclass.evaluation.metric_names import CLASS_METRICS as METRICS
from musicreclass.evaluation.paired import paired_tests

CLASSES, TRACKS = 10, 29  # per class: n = 290
DESIGNS = {  # the sizes of the artists of a class
    "independent tracks": [1] * 29,
    "10 artists a class": [3] * 9 + [2],
    "3 artists a class": [10, 10, 9],
    "one artist holds half a class": [14, 3, 3, 3, 3, 3],
}
ACCURACIES = {"30 %": (0.1, 0.5), "58 %": (0.3, 0.85)}  # of the classes, from the worst to the best
TRIALS = 1000  # Monte Carlo standard error at 95 %: 0.7 points
PAGE = Path(__file__).parents[2] / "docs" / "statistics.md"
ARTISTS = 1.0  # concentration of the Dirichlet distribution of an artist's predictions: intraclass correlation 0.5


def confusion_rates(worst: float, best: float) -> np.ndarray:
    """The predictions of each class at infinitely many tracks, (C, C); rows sum to 1."""
    rng = np.random.default_rng(1)
    recall = rng.permutation(np.linspace(worst, best, CLASSES))
    rates = rng.dirichlet(np.full(CLASSES, 0.5), CLASSES)
    np.fill_diagonal(rates, 0)
    rates *= ((1 - recall) / rates.sum(1))[:, None]
    np.fill_diagonal(rates, recall)
    return rates


def target_scores(rates: np.ndarray) -> dict[str, float]:
    """Accuracy and macro-F1 at infinitely many tracks of infinitely many artists, all classes equally frequent."""
    recall = np.diag(rates)
    return {"accuracy": recall.mean(), "macro_f1": (2 * recall / (rates.sum(0) + 1)).mean()}


def draw(rng: np.random.Generator, rates: np.ndarray, sizes: list[int], models: int) -> tuple[np.ndarray, np.ndarray, list[str | None]]:  # fmt: skip
    """True classes, the prediction rates of each track by each model (models, n, C), and groups."""
    y_true = np.repeat(np.arange(CLASSES), TRACKS)
    artist = np.repeat(np.arange(CLASSES * len(sizes)), np.tile(sizes, CLASSES))
    if max(sizes) == 1:
        return y_true, np.broadcast_to(rates[y_true], (models, len(y_true), CLASSES)), [None] * len(y_true)
    gamma = rng.gamma(
        np.repeat(rates * ARTISTS + 1e-9, len(sizes), axis=0), size=(models, CLASSES * len(sizes), CLASSES)
    )
    gamma += 1e-300  # all may underflow
    return y_true, (gamma / gamma.sum(-1, keepdims=True))[:, artist], [f"g{a}" for a in artist]


def predict(rng: np.random.Generator, rates: np.ndarray) -> np.ndarray:
    """A class for each track, from its rates (n, C)."""
    return np.minimum((rates.cumsum(1) < rng.random(len(rates))[:, None]).sum(1), CLASSES - 1)


def simulate_coverage(sizes: list[int], worst: float, best: float) -> dict[str, float]:
    """In percent: coverage and mean width by metric, now and of the plain percentile interval (`old ...`)."""
    rng, rates = np.random.default_rng(5), confusion_rates(worst, best)
    target = target_scores(rates)
    sums = {f"{old}{what} {m}": 0.0 for old in ("", "old ") for what in ("coverage", "width") for m in METRICS}
    for _ in range(TRIALS):
        y_true, by_model, groups = draw(rng, rates, sizes, 1)
        sample = Sample(y_true, [[predict(rng, by_model[0])]], groups, CLASSES)
        for metric in METRICS:
            estimate = sample.estimate(metric, 0)
            bounds = {"": (estimate.low, estimate.high)}
            bounds["old "] = tuple(np.quantile(sample.replicates[metric][0], (0.025, 0.975)))
            for old, (low, high) in bounds.items():
                sums[f"{old}coverage {metric}"] += low <= target[metric] <= high
                sums[f"{old}width {metric}"] += high - low
    return {name: 100 * total / TRIALS for name, total in sums.items()}


def simulate_false_positives(sizes: list[int], seeds: int) -> dict[str, float]:
    """The percentage of pairs of equally good models with p <= 0.05, by metric; artists differ independently in each model."""
    rng, rates = np.random.default_rng(6), confusion_rates(*ACCURACIES["30 %"])
    positives = dict.fromkeys(METRICS, 0)
    for _ in range(TRIALS):
        y_true, by_model, groups = draw(rng, rates, sizes, 2)
        rows = [[predict(rng, model) for _ in range(seeds)] for model in by_model]
        for pair in paired_tests(Sample(y_true, rows, groups, CLASSES), flips=499):
            positives[pair.metric] += pair.p <= 0.05
    return {metric: 100 * count / TRIALS for metric, count in positives.items()}


def published(label: str, columns: int) -> list[list[float]]:
    """The numbers in each column of the line with this label in docs/statistics.md."""
    (line,) = [
        cells
        for text in PAGE.read_text().splitlines()
        if (cells := [cell.strip() for cell in text.strip("|").split("|")])[0] == label and len(cells) == columns + 1
    ]
    return [[float(number) for number in re.findall(r"[\d.]+", cell)] for cell in line[1:]]


@pytest.fixture
def fewer_replicates(monkeypatch):
    monkeypatch.setattr(resampling, "REPLICATES", 1000)


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", ACCURACIES)
@pytest.mark.parametrize("design", DESIGNS)
def test_coverage_is_at_least_93_percent_as_published(fewer_replicates, design, accuracy):
    result = simulate_coverage(DESIGNS[design], *ACCURACIES[accuracy])
    print(design, accuracy, {name: round(value, 1) for name, value in result.items()})
    columns = published(f"{design}, {accuracy}", 4)
    for metric, now, old in (("accuracy", columns[1], columns[0]), ("macro_f1", columns[3], columns[2])):
        assert result[f"coverage {metric}"] >= 93
        assert result[f"width {metric}"] <= 1.6 * result[f"old width {metric}"]
        assert now == pytest.approx([result[f"coverage {metric}"], result[f"width {metric}"]], abs=0.06)
        assert old == pytest.approx([result[f"old coverage {metric}"], result[f"old width {metric}"]], abs=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_false_positives_are_as_published(monkeypatch, design):
    monkeypatch.setattr(resampling, "REPLICATES", 300)
    by_seeds = {seeds: simulate_false_positives(DESIGNS[design], seeds) for seeds in (1, 3)}
    print(design, by_seeds)
    for rates, column in zip(by_seeds.values(), published(design, 2), strict=True):
        for metric, number in zip(METRICS, column, strict=True):
            assert rates[metric] <= 7  # 5 %, three standard errors above
            assert rates[metric] == pytest.approx(number, abs=0.06)


def test_intervals_cover_more_than_plain_percentiles_where_one_artist_holds_half_a_class(monkeypatch):
    monkeypatch.setattr(resampling, "REPLICATES", 200)
    monkeypatch.setitem(globals(), "TRIALS", 150)
    result = simulate_coverage(DESIGNS["one artist holds half a class"], *ACCURACIES["30 %"])
    assert result["coverage macro_f1"] >= max(89, result["old coverage macro_f1"])  # 93 %, within three standard errors
