"""Detects input unlike anything in training, such as speech, noise or silence, which no class describes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.classifiers.model_folder import check_archive, reading
from musicreclass.plurals import agreeing, counted

FILE = "novelty.npz"
FALSE_ALARMS = 0.03  # share of validation tracks beyond the threshold
TRAINING_ROWS, MAX_WIDTH, WIDE_ROWS = (
    5000,
    1000,
    1000,
)  # training rows, at most; of tables with more columns than MAX_WIDTH
VALIDATION_ROWS = 2000  # at most
MAX_COMPONENTS = 256
STORED_ROWS, NEIGHBOURS = 1000, 3
QUANTILE = 0.9
SHRINKAGE = 0.03  # of the mean variance, added to the variance of each component
MAX_MISSING = 0.5  # share of missing features, unless training tracks miss more
SILENCE = 1e-4  # peak of silence, full scale is 1: -80 dB
CHUNK = 2048  # rows per step
ROUNDING = 1e-4  # of distances, relative: their last digits depend on the number of rows that are computed together
LIMIT = 10.0  # of standardised values; those of features with long tails would hide all others


@dataclass(frozen=True)
class Novelty:
    """The distribution of the training rows, and the distance within which validation rows are.

    The distance combines two, each relative to its `QUANTILE` over validation rows, and is the larger one. Mahalanobis's, of
    standardised features, finds combinations of values that training does not have. Its covariance is that of at most
    `MAX_COMPONENTS` principal components; the remaining directions share one variance, and a constant is added to each variance,
    so that directions without variance in training count and do not dominate. The mean distance to the `NEIGHBOURS` nearest
    training rows finds regions between those of the training rows.

    Attributes:
        mean, scale: of each feature, (D,); the mean replaces missing values.
        offset: mean of the standardised features, (D,).
        components: unit vectors, (R, D).
        weight: 1 / variance of each component, (R,).
        rest: 1 / variance of the remaining directions.
        rows: training rows as components, (K, R).
        units: the `QUANTILE` of both distances over validation rows, (2,).
        missing: largest share of missing features.
        threshold: the largest distance of a row that is like the training rows.
        validation: number of validation rows that the threshold was chosen on.
        rejected: share of them beyond it.
    """

    mean: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    components: np.ndarray
    weight: np.ndarray
    rows: np.ndarray
    units: np.ndarray
    rest: float
    missing: float
    threshold: float
    validation: int
    rejected: float

    @classmethod
    def fit(cls, train: np.ndarray, valid: np.ndarray) -> Novelty:
        """Describe training rows, and choose the threshold on validation rows.

        Args:
            train: (n, D), NaN where missing; at least one row. At most `TRAINING_ROWS` are read, evenly spaced.
            valid: (m, D); at least one row.
        """
        train = spaced(train, TRAINING_ROWS if train.shape[1] <= MAX_WIDTH else WIDE_ROWS).astype(np.float64)
        train[~np.isfinite(train)] = np.nan
        finite = np.isfinite(train)
        count = np.maximum(finite.sum(0), 1)
        mean = np.where(finite, train, 0).sum(0) / count
        deviation = np.sqrt((np.where(finite, train - mean, 0) ** 2).sum(0) / count)
        scale = np.where(
            deviation > 1e-6 * np.maximum(1, np.abs(mean)), deviation, np.maximum(1e-3, 0.1 * np.abs(mean))
        )
        z = standardised(train, mean, scale)
        offset = z.mean(0)
        variance, components = principal_components(z - offset)
        total = float(((z - offset) ** 2).mean(0).sum())
        floor = SHRINKAGE * max(total / train.shape[1], 1e-3)
        unexplained = max(0.0, total - float(variance.sum())) / max(1, train.shape[1] - len(variance))
        rows = spaced(z - offset, STORED_ROWS) @ components.T
        fields: dict[str, Any] = {
            "mean": mean,
            "scale": scale,
            "offset": offset,
            "components": components,
            "rows": rows,
        }
        fields |= {"weight": 1 / (variance + floor), "units": np.ones(2)}
        fields = {name: value.astype(np.float32) for name, value in fields.items()}
        missing = max(MAX_MISSING, float((~finite).mean(1).max()))
        fields |= {"rest": 1 / (unexplained + floor), "missing": missing}
        fitted = cls(**fields, threshold=np.inf, validation=0, rejected=0.0)
        distances = fitted.distances(spaced(valid, VALIDATION_ROWS))
        units = (
            np.quantile(np.where(np.isfinite(distances), distances, 1e6), QUANTILE, axis=0)
            .clip(1e-6)
            .astype(np.float32)
        )
        distance = np.sort((distances / units).max(1))
        rank = int(
            np.ceil((1 - FALSE_ALARMS) * (len(distance) + 1))
        )  # so that FALSE_ALARMS of new such rows are beyond
        threshold = float(np.clip(distance[min(rank, len(distance)) - 1], 1e-6, 1e30))
        rejected = float((distance > threshold).mean())
        return replace(fitted, units=units, threshold=threshold, validation=len(distance), rejected=rejected)

    def distance(self, x: np.ndarray) -> np.ndarray:
        """The distance of each row (n, D) to the training rows, (n,) float64; infinite if it has an infinite value."""
        return (self.distances(x) / self.units).max(1)

    def distances(self, x: np.ndarray) -> np.ndarray:
        """Mahalanobis's distance of each row (n, D), and that to its nearest training rows, (n, 2) float64."""
        chunks = [self._distances(x[start : start + CHUNK]) for start in range(0, len(x), CHUNK)]
        return np.concatenate(chunks) if chunks else np.empty((0, 2))

    def _distances(self, x: np.ndarray) -> np.ndarray:
        z = standardised(x.astype(np.float32), self.mean, self.scale) - self.offset
        projected = z @ self.components.T
        rest = np.maximum(0, (z**2).sum(1) - (projected**2).sum(1)).astype(np.float64)
        mahalanobis = (projected.astype(np.float64) ** 2) @ self.weight.astype(np.float64) + rest * self.rest
        squares = (projected**2).sum(1)[:, None] - 2 * projected @ self.rows.T + (self.rows**2).sum(1)
        count = min(NEIGHBOURS, len(self.rows))
        nearest = np.partition(squares, count - 1, axis=1)[:, :count].clip(0).mean(1) + rest
        distances = np.sqrt(np.stack([mahalanobis, nearest], axis=1) / x.shape[1])
        return np.where(np.isinf(x).any(1)[:, None], np.inf, distances)

    def reasons(self, x: np.ndarray) -> list[str | None]:
        """Why each row (n, D) is unlike the training rows; None if it is not."""
        within = f"{1 - self.rejected:.0%} of validation tracks are within {self.threshold:.2f}".replace("%", " %")
        absent = np.isnan(x).mean(1)
        return [
            f"{round(fraction * x.shape[1])} of {counted(x.shape[1], 'feature')} {agreeing(round(fraction * x.shape[1]), 'is', 'are')} missing"
            if fraction > self.missing
            else f"unlike the training tracks (distance {distance:.2f}, {within})"
            if distance > self.threshold * (1 + ROUNDING)
            else None
            for fraction, distance in zip(absent, self.distance(x), strict=True)
        ]

    def check_width(self, width: int) -> None:
        """Make sure that the rows have as many columns as those of the model.

        Raises:
            ValueError: if they do not.
        """
        if len(self.mean) != width:
            raise ValueError(f"describes {counted(len(self.mean), 'column')}, and the model has {width}")

    def as_dict(self) -> dict[str, Any]:
        """Threshold, validation tracks, and the share of them beyond it, for provenance.json."""
        return {"threshold": self.threshold, "validation": self.validation, "rejected": self.rejected}

    def save(self, folder: Path) -> None:
        """Write `novelty.npz`."""
        with (folder / FILE).open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                **{name: np.asarray(value, np.float32) for name, value in self.__dict__.items()},
            )

    @classmethod
    def load(cls, folder: Path) -> Novelty | None:
        """Read what `save` wrote; None if there is no such file, as in the run of an older version.

        Raises:
            RunError: if the file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        with reading(path):
            check_archive(path)
            with np.load(path, allow_pickle=False) as archive:
                values = {name: archive[name] for name in archive.files}
            check_values(values)
            arrays = {name: value for name, value in values.items() if value.ndim}
            scalars = {name: float(value) for name, value in values.items() if not value.ndim}
            return cls(**arrays, **{**scalars, "validation": int(scalars["validation"])})  # type: ignore[arg-type]


def check_values(values: dict[str, np.ndarray]) -> None:
    """Make sure that saved values can be those of a `Novelty`.

    Raises:
        ValueError: if they cannot.
    """
    dimensions = {"mean": 1, "scale": 1, "offset": 1, "components": 2, "weight": 1, "rows": 2, "units": 1}
    scalars = ("rest", "missing", "threshold", "validation", "rejected")
    if set(values) != {*dimensions, *scalars}:
        raise ValueError(f"contains {', '.join(sorted(values))[:80]}")
    for name, value in values.items():
        if value.dtype != np.float32 or value.ndim != dimensions.get(name, 0) or not np.isfinite(value).all():
            raise ValueError(f"{name}: must be finite float32 with {counted(dimensions.get(name, 0), 'dimension')}")
    count, width = values["components"].shape
    if any(len(values[name]) != width for name in ("mean", "scale", "offset")) or len(values["weight"]) != count:
        raise ValueError("sizes differ")
    if values["rows"].shape[1] != count or not len(values["rows"]) or len(values["units"]) != 2:
        raise ValueError("sizes differ")
    if (
        any((values[name] <= 0).any() for name in ("scale", "weight", "units", "rest", "threshold"))
        or values["validation"] < 0
    ):
        raise ValueError("scale, weight, units, rest and threshold must be positive")


def spaced(rows: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` rows, evenly spaced."""
    return rows if len(rows) <= limit else rows[np.linspace(0, len(rows) - 1, limit).astype(int)]


def standardised(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Standardised features within ± `LIMIT`, 0 where missing."""
    return np.nan_to_num(((x - mean) / scale).clip(-LIMIT, LIMIT), nan=0.0)


def principal_components(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest variances (R,) and their directions (R, D) of centred rows (n, D), by the smaller of the two Gram matrices."""
    n, width = x.shape
    values, vectors = np.linalg.eigh((x.T @ x if width <= n else x @ x.T) / n)
    order = np.argsort(-values)[:MAX_COMPONENTS]
    order = order[values[order] > 1e-9 * max(values.max(), 1e-30)]
    values, vectors = values[order], vectors[:, order]
    components = vectors.T if width <= n else (vectors.T @ x) / np.sqrt(n * values)[:, None]
    return values, components


def is_silent(samples: np.ndarray) -> np.ndarray:
    """Whether each recording is silent: its peak is below -80 dB of full scale.

    Args:
        samples: (n, ...), int16, or float with full scale 1.
    """
    full_scale = 32768 if samples.dtype == np.int16 else 1
    flat = samples.reshape(len(samples), -1)
    return np.maximum(flat.max(1, initial=0), -flat.min(1, initial=0).astype(np.float64)) < SILENCE * full_scale
