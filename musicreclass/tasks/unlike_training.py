"""What makes other data unlike the tracks that a run was trained on: the range of its features, the length of its recordings."""

from __future__ import annotations

import io
import math

import pandas as pd

from musicreclass.classifiers.base import Classifier
from musicreclass.classifiers.training_ranges import check_ranges
from musicreclass.data.sources.fma_features import FMAFeatures
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.runs.folder import TRACKS, Run
from musicreclass.storage.regular import read_regular

RANGE_MARK, LENGTH_MARK = "features unlike training", "recordings of another length"
MAX_RATIO = 2.0  # of the median lengths of recordings
WHOLE_TRACKS = f"{FMAFeatures.__module__}.{FMAFeatures.__qualname__}"  # features.csv describes them, and has no lengths


def unlike_training(run: Run, classifier: Classifier, data: TrackData, split: str) -> dict[str, str]:
    """Cautions about features that other data has, by mark.

    Args:
        run: finished.
        classifier: of the run.
        data: the other data.
        split: the scored split, or `all`.

    Raises:
        DataError: if the features are too different; see `check_ranges`.
    """
    if not isinstance(data, TableData) or data.columns != classifier.card.columns:
        return {}  # predicting rejects other columns
    lines = check_ranges(classifier.card.ranges, data.arrays(split)[1], data.columns)
    cautions = {RANGE_MARK: "; ".join(lines)} if lines else {}
    trained, scored = trained_seconds(run), math.inf if isinstance(data, FMAFeatures) else median(data.tracks.duration)
    are_known = not (math.isnan(trained) or math.isnan(scored))
    if are_known and max(trained, scored) > MAX_RATIO * min(trained, scored):
        cautions[LENGTH_MARK] = (
            f"the model was trained on features of {length_text(trained)}, and these are of {length_text(scored)}: "
            "minima, maxima, skewness and kurtosis differ most"
        )
    return cautions


def trained_seconds(run: Run) -> float:
    """The median length of a run's training recordings; infinite for whole tracks of any length, NaN if unknown."""
    if run.settings.data.target == WHOLE_TRACKS:
        return math.inf
    try:
        tracks = pd.read_parquet(io.BytesIO(read_regular(run.folder / TRACKS)), columns=["split", "duration"])
        return median(tracks.duration[tracks.split == "train"])
    except (OSError, ValueError, KeyError, AttributeError):
        return math.nan


def median(durations: pd.Series[float]) -> float:
    """The median of known durations; NaN if there are none."""
    seconds = pd.to_numeric(durations, errors="coerce").dropna()
    return float(seconds.median()) if len(seconds) else math.nan


def length_text(seconds: float) -> str:
    """A length as text."""
    return "whole tracks" if math.isinf(seconds) else f"recordings of {seconds:.0f} s (median)"
