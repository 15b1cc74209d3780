"""Scoring: from a fitted classifier to predictions, metrics and a figure in its run folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicreclass.errors import DataError
from musicreclass.runs.folder import Run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from musicreclass.classifiers.base import Classifier
    from musicreclass.data.track_data import TrackData
    from musicreclass.evaluation.predictions import Predictions

log = logging.getLogger("musicreclass")
FOLDERS = ("predictions", "figures")  # of a run, that scoring writes into


def score_split(
    run: Run, classifier: Classifier, data: TrackData, split: str, outputs: Path | None = None
) -> np.ndarray:
    """Predict one split, write its table, its metrics and its confusion matrix.

    Args:
        run: takes the files.
        classifier: fitted.
        data: gives the tracks; that which the run was trained on.
        split: `train`, `valid` or `test`.
        outputs: the folder of the score log; by default the one that contains the run folder.

    Returns:
        The pixels of the confusion matrix.
    """
    scores, pixels = score_predictions(run, classifier, data, split, split, outputs)
    metrics = {**run.metrics, split: scores, "classes": classifier.card.classes, "protocol": protocol_of(run, data)}
    if split == "valid":
        metrics |= thresholds_of(run) if classifier.card.is_multi else calibration_of(run)
    run.write("metrics.json", metrics)
    return pixels


def protocol_of(run: Run, data: TrackData) -> dict[str, Any]:
    """The protocol of a run's data; the recorded one if only that includes a verification of the recordings, as made elsewhere."""
    from musicreclass.data.leaks import NEAR_AUDIO

    recorded = run.metrics.get("protocol") or {}
    was_verified = NEAR_AUDIO in recorded.get("checked", ())
    return recorded if was_verified and NEAR_AUDIO not in data.protocol.checked else data.protocol.as_dict()


def calibration_of(run: Run) -> dict[str, Any]:
    """`calibration` of metrics.json, from the validation predictions; empty, with a line in run.log, if tracks are too few."""
    from musicreclass.evaluation.calibration import calibrate, why_uncalibrated

    predictions = run.predictions("valid")
    calibration = calibrate(predictions)
    if calibration is None:
        log.info("calibration: none: %s", why_uncalibrated(predictions))
        return {}
    return {"calibration": calibration}


def thresholds_of(run: Run) -> dict[str, Any]:
    """`thresholds` of metrics.json: that of each tag with the highest F1 on the validation split."""
    from musicreclass.evaluation.tag_metrics import tag_thresholds

    return {"thresholds": tag_thresholds(run.predictions("valid"))}


def score_predictions(
    run: Run, classifier: Classifier, data: TrackData, split: str, name: str, outputs: Path | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    """Predict one split, write its table and its confusion matrix under a name.

    Returns:
        the metrics, and the pixels of the figure.

    Raises:
        DataError: if the split has no tracks.
        LockLostError: if another process took the run folder over meanwhile; nothing is written.
    """
    if not data.size(split):
        raise DataError(f"{split}: this copy of the data has no {split} tracks; nothing was scored")
    for folder in FOLDERS:
        run.subfolder(folder)
    predictions = classifier.predict(data, split)
    run.check_lock()  # predicting may take long
    return record_predictions(run, predictions, data.tracks, name, outputs or run.folder.parent)


def record_predictions(
    run: Run, predictions: Predictions, tracks: pd.DataFrame, name: str, outputs: Path
) -> tuple[dict[str, Any], np.ndarray]:
    """Log a scoring, and write its table and its confusion matrix under a name.

    Args:
        run: takes the files.
        predictions: one row per track.
        tracks: `track_id` and `checksum` of these tracks and possibly others.
        name: the split, or the name of other data.
        outputs: the folder of the score log.

    Returns:
        the metrics, and the pixels of the figure.
    """
    from musicreclass.evaluation.metrics import score
    from musicreclass.report.figures import confusion_figure, save_for_print
    from musicreclass.report.tag_figures import tag_figure

    tables, figures = (run.subfolder(folder) for folder in FOLDERS)
    if name != "train":
        log_scoring(run, predictions, tracks, name, outputs)
    predictions.save(tables / f"{name}.parquet")
    title = caption(run, name, len(predictions))
    if predictions.is_multi:
        thresholds = None if name == "valid" else run.metrics.get("thresholds", {})
        scores = score(predictions, thresholds)
        if thresholds is not None and (run.is_imported or not thresholds):
            values = ", ".join(f"{value:g}" for value in sorted({*thresholds.values()} or {0.5}))
            scores["f1_thresholds"] = f"the import ({values})" if run.is_imported else f"no tracks ({values})"
        figure = tag_figure(predictions, scores, title)
        return scores, save_for_print(figure, figures / f"tags_{name}.png")
    figure = confusion_figure(predictions, title)
    pixels = save_for_print(figure, figures / f"confusion_matrix_{name}.png")
    return {**score(predictions), **score_by_dataset(predictions, tracks)}, pixels


def caption(run: Run, name: str, n: int) -> str:
    """The title of a figure: `mlp on demo, seed 1: validation, n = 36`."""
    choices, source = run.identity.choices or {}, run.identity.source
    data = " ".join(str(part) for part in (choices.get("data"), source) if part)
    split = {"valid": "validation", "train": "training"}.get(name, name)
    return f"{choices.get('model', 'model')} on {data or 'data'}, seed {run.settings.seed}: {split}, n = {n}"


def score_by_dataset(predictions: Predictions, tracks: pd.DataFrame) -> dict[str, Any]:
    """Accuracy and number of tracks of each of combined datasets, under `by_dataset`; empty for a single dataset."""
    if "dataset" not in tracks:
        return {}
    dataset = predictions.table.track_id.map(tracks.set_index("track_id").dataset)
    correct = predictions.table.assign(correct=predictions.probabilities().argmax(1) == predictions.y_true()).correct
    by_dataset = correct.groupby(dataset).agg(["mean", "size"])
    return {
        "by_dataset": {
            name: {"accuracy": float(row["mean"]), "n": int(row["size"])} for name, row in by_dataset.iterrows()
        }
    }


def log_scoring(run: Run, predictions: Predictions, tracks: pd.DataFrame, name: str, outputs: Path) -> None:
    """Add a scoring to the score log, before its result can be seen."""
    from musicreclass.runs import score_log

    scored = score_log.scored_tracks(predictions, tracks)
    classes = score_log.predicted_classes(predictions)
    predicted = score_log.predictions_hash(predictions.table.track_id, classes)
    scoring = score_log.describe_scoring(run.settings, run.identity, name, predicted, scored, run.folder.name)
    score_log.append(outputs, scoring, scored)
