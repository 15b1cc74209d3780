"""Which recordings to label first: distinct, from every region, the least certain of each, and rare ones early."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.library.selection import farthest_first, k_means, select, standardised


def clusters(seed: int, sizes: list[int], width: int = 16, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Points around random centres, (n, D), and the centre of each, (n,); in random order."""
    rng = np.random.default_rng(seed)
    member = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    x = rng.normal(size=(len(sizes), width))[member] + spread * rng.normal(size=(len(member), width))
    return x.astype(np.float32), member


points = st.builds(
    lambda seed, n, width, distinct: np.random.default_rng(seed).integers(0, distinct, (n, width)).astype(np.float32),
    st.integers(0, 10**6),
    st.integers(1, 60),
    st.integers(1, 5),
    st.integers(1, 20),
)


@given(x=points, count=st.integers(0, 80), seed=st.integers(0, 100), data=st.data())
@settings(max_examples=100)
def test_any_number_of_different_unlabelled_rows(x, count, seed, data):
    """Also of equal or constant points."""
    labelled = np.array(data.draw(st.lists(st.booleans(), min_size=len(x), max_size=len(x))))
    uncertainty = np.random.default_rng(seed).random(len(x))
    chosen = select(x, uncertainty, count, labelled, seed)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, int((~labelled).sum()))
    assert not labelled[chosen].any()
    assert (select(x, uncertainty, count, labelled, seed) == chosen).all()


@given(seed=st.integers(0, 10**6), count=st.integers(1, 30))
@settings(max_examples=25)
def test_the_least_certain_of_every_region(seed, count):
    x, _ = clusters(seed, [40, 30, 20, 10])
    uncertainty = np.random.default_rng(seed).random(len(x))
    chosen = select(x, uncertainty, count)
    _, region = k_means(standardised(x), count, np.random.default_rng(0))
    assert set(region[chosen]) == set(region)
    for row in chosen[: len(set(region))]:
        assert uncertainty[row] == uncertainty[region == region[row]].max()


@pytest.mark.parametrize("seed", range(5))
def test_every_cluster_is_among_the_first(seed):
    """Of 12 clusters of very unequal sizes; by chance the first recording of the smallest comes after 163."""
    x, member = clusters(seed, [1500, 1000, 500, *[50] * 8, 20], spread=0.2)
    chosen = select(x, np.zeros(len(x)), 60)
    assert set(member[chosen]) == set(range(12))
    assert len(set(member[chosen[:24]])) >= 10


def test_a_rare_cluster_is_reached_much_earlier_than_by_chance():
    positions = []
    for seed in range(7):
        x, member = clusters(seed, [800] * 5 + [8], spread=0.5)
        rare = member[select(x, np.random.default_rng(seed).random(len(x)), 100, seed=seed)] == 5
        positions.append(int(rare.argmax()) if rare.any() else 1000)
    assert np.median(positions) < 20  # by chance the first of 8 among 4,008 comes after 445


def test_regions_far_from_labelled_recordings_come_first():
    x, member = clusters(1, [100] * 6, spread=0.1)
    labelled = (member < 5) & (np.arange(600) % 3 == 0)
    assert member[select(x, np.zeros(600), 20, labelled)[0]] == 5


def test_the_order_starts_with_the_largest_region_and_goes_to_the_farthest():
    centres = np.array([[0.0], [1], [10], [11], [4]], np.float32)
    assert farthest_first(centres, np.array([1, 9, 1, 1, 1]), np.empty((0, 1))).tolist() == [1, 3, 4, 0, 2]
    assert farthest_first(centres, np.ones(5), np.array([[11.0]]))[0] == 0


def test_constant_and_extreme_features_do_not_dominate():
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    x[:, 1] = 7
    x[0, 2] = 1e30
    scaled = standardised(x)
    assert np.isfinite(scaled).all()
    assert (scaled[:, 1] == 0).all()
    assert abs(scaled).max() <= 10


@pytest.mark.slow
def test_a_hundred_thousand_recordings():
    """Memory stays below three times that of the features."""
    x, _ = clusters(0, [2000] * 50, width=200)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    assert len(set(select(x, np.random.default_rng(0).random(len(x)), 300).tolist())) == 300
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 2 * x.nbytes
    assert time.monotonic() - started < 120
