"""Nearly identical rows of features: copies of a recording with noise, rounding or another encoding.

Rows are compared as sketches: standardised features, projected at random to a few dimensions. A row is a near-copy of
another if their distance is a small fraction of the distances between rows of different recordings, and if so small a distance is
not expected by chance at the table's number of rows and intrinsic dimension.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SKETCH_SIZE = 48  # values per row
MIN_FEATURES = 6  # that vary continuously; rows of fewer are close by chance
MIN_ROWS = 20  # to compare with
FIT_ROWS = 5000  # from which locations and scales are estimated
SAMPLE = 1000  # rows whose distances tell what is usual
MAX_COMMON = 0.02  # a feature of which one value is more frequent is not continuous
MIN_SPREAD = 0.05  # smallest scale of a feature, as a fraction of its median
CLIP = 3.0  # standardised values are limited smoothly to this range, so that no outlier decides
MAX_RATIO = 0.125  # of a near-copy's distance to the distance below which 1 % of the sample is
PROOF = 1e-6  # a comparison finds near-copies if one is so close that this many are expected by chance among all rows;
COUNTED = 1e-2  # then all are counted that are so close that this many are expected
MAX_PAIRS = 1_000_000_000  # that are compared; beyond, the rows to look up are sampled evenly
BLOCK = 1 << 24  # distances computed at a time


@dataclass(frozen=True)
class Sketcher:
    """Turns rows of features into sketches.

    Attributes:
        columns: the names of all features.
        kept: indices of the features that vary continuously, int64 (k,).
        center, scale: of these, float64 (k,).
        projection: float32 (k, size).
    """

    columns: list[str]
    kept: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    projection: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, columns: list[str]) -> Sketcher | None:
        """Estimate locations and scales from rows.

        Args:
            x: features, (rows, F), NaN where missing.
            columns: names of the features.

        Returns:
            the sketcher; None if too few features vary continuously.
        """
        rows = np.linspace(0, len(x) - 1, min(len(x), FIT_ROWS)).astype(int)
        sample = np.sort(x[rows].astype(np.float64), axis=0)  # NaN last
        known = np.isfinite(sample).sum(0)
        most_common = np.array([_longest_run(sample[:n, j]) for j, n in enumerate(known)])
        usable = (known > len(rows) / 2) & (most_common <= np.maximum(3, MAX_COMMON * len(rows)))
        candidates = np.flatnonzero(usable)
        if not len(candidates):
            return None
        low, center, high = (sample[(q * (known[candidates] - 1)).astype(int), candidates] for q in (0.25, 0.5, 0.75))
        scale = np.maximum((high - low) / 1.349, MIN_SPREAD * np.abs(center))
        varies = scale > 0
        kept = candidates[varies]
        if len(kept) < MIN_FEATURES:
            return None
        size = min(len(kept), SKETCH_SIZE)
        random = np.random.default_rng(0).standard_normal((len(kept), size)) / np.sqrt(size)
        projection = np.eye(size) if size == len(kept) else random
        return cls(list(columns), kept, center[varies], scale[varies], projection.astype(np.float32))

    def sketch(self, x: np.ndarray) -> np.ndarray:
        """Sketches of rows, float32 (rows, size); NaN for rows in which more than half of the features are missing."""
        sketches = np.empty((len(x), self.projection.shape[1]), np.float32)
        for start in range(0, len(x), 4096):
            z = (x[start : start + 4096, self.kept] - self.center) / self.scale
            missing = ~np.isfinite(z)
            z = (CLIP * np.tanh(np.where(missing, 0, z) / CLIP)).astype(np.float32)
            z[missing.mean(1) > 0.5] = np.nan
            sketches[start : start + len(z)] = z @ self.projection
        return sketches


@dataclass(frozen=True)
class Sketches:
    """The sketches of a table.

    Attributes:
        sketcher: computes them.
        values: float32 (rows, size).
        row_track: index of each row's track, int64 (rows,).
    """

    sketcher: Sketcher
    values: np.ndarray
    row_track: np.ndarray

    def of_tracks(self, tracks: np.ndarray) -> Sketches:
        """Those of some tracks, bool (tracks,); the index of a track remains."""
        rows = tracks[self.row_track]
        return Sketches(self.sketcher, self.values[rows], self.row_track[rows])

    def near_copies_in(self, references: Sketches) -> dict[int, int]:
        """The tracks that are near-copies of a track of `references`, as index -> its index."""
        match = near_copies(self.values, references.values)
        return {
            int(track): int(references.row_track[row])
            for track, row in zip(self.row_track[match >= 0], match[match >= 0], strict=True)
        }

    def save(self, path: Path) -> None:
        """Write them, in half precision."""
        sketcher = self.sketcher
        with path.open("wb") as file:
            np.savez(
                file, columns=np.array(sketcher.columns, str), kept=sketcher.kept, center=sketcher.center,
                scale=sketcher.scale, projection=sketcher.projection, values=self.values.astype(np.float16),
                row_track=self.row_track,
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> Sketches | None:
        """Read what `save` wrote; None if there is no such file, or it is damaged."""
        try:
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    return None  # `save` does not compress; a compressed file may expand without limit
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            columns = [str(name) for name in arrays.pop("columns")]
            row_track, values, kept, projection = (arrays[n] for n in ("row_track", "values", "kept", "projection"))
            center, scale = arrays["center"], arrays["scale"]
        except (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile):
            return None
        shapes = {kept.shape, center.shape, scale.shape, projection.shape[:1]} == {(len(kept),)}
        fits = projection.ndim == 2 and values.shape == (len(row_track), projection.shape[1]) and row_track.ndim == 1
        numbers = {a.dtype.kind for a in (center, scale, projection, values)} == {"f"}
        indices = (
            kept.dtype == row_track.dtype == np.int64 and len(kept) and kept.min() >= 0 and kept.max() < len(columns)
        )
        if not (shapes and fits and numbers and indices):
            return None
        return cls(Sketcher(columns, kept, center, scale, projection), values.astype(np.float32), row_track)


def _longest_run(values: np.ndarray) -> int:
    """How often the most frequent of sorted values occurs."""
    if not len(values):
        return 0
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]]))
    return int(np.diff(starts).max())


def near_copies(rows: np.ndarray, references: np.ndarray) -> np.ndarray:
    """The row of `references` that each of `rows` is a near-copy of.

    Args:
        rows, references: sketches, (n, size) and (m, size).

    Returns:
        indices, int64 (n,); -1 for rows that are no near-copy.
    """
    found, chance = np.full(len(rows), -1), np.full(len(rows), np.inf)
    available, usable = (np.flatnonzero(np.isfinite(part).all(1)) for part in (references, rows))
    if len(available) < MIN_ROWS or not len(usable):
        return found
    limit = max(1, MAX_PAIRS // len(available))
    if len(usable) > limit:
        usable = usable[np.linspace(0, len(usable) - 1, limit).astype(int)]
    base = references[available]
    chosen = np.linspace(0, len(base) - 1, min(len(base), SAMPLE)).astype(int)
    fraction = min(0.25, max(0.01, 10 / len(chosen)))
    step = max(1, BLOCK // len(base))
    norms = np.einsum("ij,ij->i", base, base)
    for start in range(0, len(usable), step):
        block = usable[start : start + step]
        part = rows[block]
        squares = part @ base.T  # (block, m)
        squares *= -2
        squares += norms
        nearest = squares.argmin(1)
        usual = np.sort(squares[:, chosen], axis=1) + np.einsum("ij,ij->i", part, part)[:, None]
        ranks = [int(factor * fraction * len(chosen)) for factor in (0.5, 1, 2, 4)]
        radii = np.sqrt(np.maximum(usual[:, np.minimum(ranks, len(chosen) - 1)], 0))
        distance = np.linalg.norm(part - base[nearest], axis=1)
        found[block] = available[nearest]
        chance[block] = len(usable) * _expected_by_chance(distance, radii, fraction * len(base))
    return np.where(chance < COUNTED, found, -1) if chance.min() < PROOF else np.full(len(rows), -1)


def _expected_by_chance(distance: np.ndarray, radii: np.ndarray, n_near: float) -> np.ndarray:
    """How many references are expected by chance within a distance; infinite if it is not small.

    The number within a distance d is extrapolated as proportional to d to the power of the intrinsic dimension,
    for which the median of three estimates is taken, since clusters distort one of them.

    Args:
        distance: to the nearest reference, (n,).
        radii: within each there are twice as many references as within the one before, (n, 4).
        n_near: number of references within the second radius.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = distance / radii[:, 1]
        dimension = np.median(np.log(2) / np.log(radii[:, 1:] / radii[:, :-1]), axis=1)
        return np.where(ratio < MAX_RATIO, n_near * ratio**dimension, np.inf)
