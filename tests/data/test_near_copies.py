"""Near-copies of rows are told from rows that are close by chance."""

from __future__ import annotations

import numpy as np
import pytest

from musicreclass.data.near_copies import Sketcher, Sketches, near_copies


def sketches(x: np.ndarray) -> Sketches | None:
    sketcher = Sketcher.fit(x, [f"f{i}" for i in range(x.shape[1])])
    return None if sketcher is None else Sketches(sketcher, sketcher.sketch(x), np.arange(len(x)))


@pytest.mark.parametrize(("n", "features"), [(60, 6), (300, 8), (2000, 6), (2000, 30), (1000, 300)])
@pytest.mark.parametrize("seed", range(5))
def test_independent_rows_are_no_copies(n, features, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, features)) * rng.lognormal(size=features) + rng.standard_normal(features)
    part = sketches(x).values
    assert (near_copies(part[: n // 3], part[n // 3 :]) == -1).all()


@pytest.mark.parametrize("x", [
    np.eye(8)[np.arange(400) % 8],  # one class of eight per row
    np.random.default_rng(0).integers(0, 5, (400, 10)),
    np.random.default_rng(0).poisson(20, (400, 10)),
    np.random.default_rng(0).standard_normal((400, 5)),
    np.zeros((400, 10)),
    np.full((400, 10), np.nan),
])  # fmt: skip
def test_rows_that_may_coincide_are_not_compared(x):
    assert sketches(np.asarray(x, np.float32)) is None


@pytest.mark.parametrize("copies", [1, 9])
@pytest.mark.parametrize("features", [8, 60, 300])
def test_copies_are_found_among_others(features, copies):
    rng = np.random.default_rng(0)
    x = rng.lognormal(size=(300, features))
    x = np.concatenate([x, *(x[:40] * (1 + 0.005 * rng.standard_normal((40, features))) for _ in range(copies))])
    part = sketches(x).values
    match = near_copies(part[300:], part[:300])
    assert (match == np.tile(np.arange(40), copies)).mean() > 0.95
    assert (near_copies(part[40:300], part[:40]) == -1).all()


def test_missing_values_do_not_match():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 10))
    x[:20, 1:] = np.nan
    part = sketches(x).values
    assert (near_copies(part[:10], part[10:]) == -1).all()


def test_stored_sketches_find_the_same(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 60))
    original = sketches(x).of_tracks(np.arange(200) < 150)
    original.save(tmp_path / "s")
    stored = Sketches.load(tmp_path / "s")
    assert (tmp_path / "s").stat().st_size < 150 * 48 * 2 + 60 * 48 * 8 + 10_000
    copies = Sketches(stored.sketcher, stored.sketcher.sketch(x[100:] * 1.001), np.arange(100))
    assert copies.near_copies_in(stored) == {i: 100 + i for i in range(50)}


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_damaged_sketches_are_none(tmp_path, content):
    (tmp_path / "s").write_bytes(content)
    assert Sketches.load(tmp_path / "s") is None
    assert Sketches.load(tmp_path / "absent") is None
    np.savez(tmp_path / "t.npz", columns=np.array(["a"]), kept=np.array([3]))
    assert Sketches.load(tmp_path / "t.npz") is None
    x = np.random.default_rng(0).standard_normal((40, 8))
    sketches(x).save(tmp_path / "u.npz")
    np.savez_compressed(tmp_path / "v.npz", **np.load(tmp_path / "u.npz"))
    assert Sketches.load(tmp_path / "u.npz") is not None
    assert Sketches.load(tmp_path / "v.npz") is None
