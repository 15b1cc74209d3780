"""What the labels of a run can promise, from its validation tracks: calibration, a threshold, and what limits them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from musicreclass.data.class_map import ClassMap
from musicreclass.errors import RunError
from musicreclass.evaluation.calibration import calibrated, fit_temperature
from musicreclass.evaluation.coverage import Threshold, confidence_threshold
from musicreclass.evaluation.predictions import PREFIX, TRUE_PREFIX, Predictions
from musicreclass.plurals import counted
from musicreclass.runs.folder import Run

NO_VALIDATION = "no validation scores in common; evaluate RUN --split valid computes them"
OF_TAGS = "a tag is given from the threshold with the highest F1 on validation; without validation scores, from 0.5"


def of_tags(run: Run) -> str:
    """Where the thresholds of a run's tags come from."""
    values = sorted(set(run.metrics.get("thresholds", {}).values())) if run.is_imported else []
    return f"a tag is given from {values[0]:g}, which was not chosen on tracks" if len(values) == 1 else OF_TAGS


def validation(runs: list[Run], classes: list[str]) -> Predictions | None:
    """The predictions of the validation tracks, averaged over runs that have the same ones; None without."""
    tables = []
    for run in runs:
        if "valid" not in run.metrics:
            return None
        tables.append(run.predictions("valid").table.set_index("track_id").sort_index())
    first = tables[0]
    targets = [column for column in first.columns if column == "target" or column.startswith(TRUE_PREFIX)]
    if not all(table.index.equals(first.index) and table[targets].equals(first[targets]) for table in tables):
        return None
    columns = [PREFIX + name for name in classes]
    average = np.mean([table[columns].to_numpy() for table in tables], axis=0)
    labels = first[[*targets, "group"]]
    return Predictions(pd.concat([labels, pd.DataFrame(average, first.index, columns)], axis=1).reset_index())


def threshold_for(
    runs: list[Run], valid: Predictions | None, temperature: float, precision: float, class_map: ClassMap | None
) -> Threshold:
    """The threshold on confidences that promises a precision.

    Raises:
        RunError: if there are no validation tracks, or no threshold reaches the precision on them.
    """
    folder = runs[0].folder
    if valid is None:
        reason = f"no threshold can be chosen: {NO_VALIDATION}"
        raise RunError(f"precision={precision}: {folder}: {reason}", "no_validation", folder)
    if class_map is not None:
        is_mapped = class_map.map_targets(valid.table.target).notna()
        valid = Predictions(valid.table[is_mapped].reset_index(drop=True))
    probability, y_true = valid.probabilities(), valid.y_true()

    def labelled_at(temperature: float) -> Predictions:
        predictions = calibrated(valid, temperature)
        return predictions if class_map is None else mapped(predictions, class_map)

    def calibrated_on(rows: np.ndarray) -> Predictions:
        return labelled_at(fit_temperature(probability[rows], y_true[rows]))

    chosen = confidence_threshold(labelled_at(temperature), precision, None if temperature == 1 else calibrated_on)
    if chosen.value is None:
        line = f"precision={precision}: {folder}: {chosen.reason}; choose a lower precision, or a better model"
        raise RunError(line, "precision_not_reached", folder, precision)
    return chosen


def mapped(predictions: Predictions, class_map: ClassMap) -> Predictions:
    """Predictions of the target classes of a map, without the tracks that it leaves out."""
    probability, names, _ = class_map.map_probabilities(predictions.probabilities(), predictions.classes)
    labels = predictions.table[["track_id", "group"]].assign(target=class_map.map_targets(predictions.table.target))
    columns = pd.DataFrame(probability, labels.index, [PREFIX + name for name in names])
    return Predictions(
        pd.concat([labels[labels.columns], columns], axis=1)[labels.target.notna()].reset_index(drop=True)
    )


def promise(chosen: Threshold) -> str:
    """What a threshold achieved on validation tracks of other groups, as a line."""
    accuracy = "none of them"
    if chosen.accuracy is not None:
        accuracy = f"{100 * chosen.accuracy:.0f} % of them right"
    if chosen.interval is not None:
        low, high = chosen.interval
        accuracy += f" [{100 * low:.0f}, {100 * high:.0f}]"
    return (
        f"precision {chosen.precision}: labels need a confidence of {chosen.value:.3f}; {100 * chosen.coverage:.0f} % of the "
        f"{counted(chosen.n, 'validation track was', 'validation tracks were')} labelled then, {accuracy} (over {chosen.over})"
    )


def cautions(run: Run, uncalibrated: str) -> list[str]:
    """What limits the labels of a run, a line each.

    Args:
        run: finished.
        uncalibrated: why confidences are not calibrated; empty if they are, or were not to be.
    """
    protocol = run.metrics.get("protocol") or {}
    why = "; ".join(protocol.get("why") or [])[:300]
    lines = []
    if protocol.get("leaky") == "yes":
        lines.append(f"its scores are too high, and so are its confidences: training and validation overlap ({why})")
    elif protocol.get("leaky") != "no":
        lines.append(f"its scores may be too high, and so may be its confidences: leaks are unknown ({why})")
    if uncalibrated:
        lines.append(f"confidences are not calibrated: {uncalibrated}")
    if any(section.checkpoint == "random" for section in run.settings.weighted().values()):
        lines.append("its encoder is untrained (checkpoint=random)")
    if protocol.get("pretraining_overlap"):
        overlap = "; ".join(protocol["pretraining_overlap"])
        lines.append(f"its encoder was trained on data that overlaps with the scored tracks ({overlap[:200]})")
    return [f"{run.folder}: {line}" for line in lines]
