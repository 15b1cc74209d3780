"""What the labels of a run can promise, from its validation tracks: calibration, a threshold, and what limits them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from musicreclass.errors import RunError
from musicreclass.evaluation.calibration import calibrated
from musicreclass.evaluation.coverage import confidence_threshold
from musicreclass.evaluation.predictions import PREFIX, Predictions
from musicreclass.runs.folder import Run


def validation(runs: list[Run], classes: list[str]) -> Predictions | None:
    """The predictions of the validation tracks, averaged over runs that have the same ones; None without."""
    tables = []
    for run in runs:
        if "valid" not in run.metrics:
            return None
        tables.append(run.predictions("valid").table.set_index("track_id").sort_index())
    first = tables[0]
    if not all(table.index.equals(first.index) and table.target.equals(first.target) for table in tables):
        return None
    columns = [PREFIX + name for name in classes]
    average = np.mean([table[columns].to_numpy() for table in tables], axis=0)
    labels = first[["target", "group"]]
    return Predictions(pd.concat([labels, pd.DataFrame(average, first.index, columns)], axis=1).reset_index())


def threshold_for(
    runs: list[Run], valid: Predictions | None, temperature: float, precision: float
) -> tuple[float, str]:
    """The lowest confidence of a label, and what it promises.

    Raises:
        RunError: if there are no validation tracks, or no threshold reaches the precision on them.
    """
    folder = runs[0].folder
    if valid is None:
        remedy = "all runs need the same validation tracks" if len(runs) > 1 else "the run has no validation scores"
        raise RunError(f"--precision {precision}: {remedy}, so no threshold can be chosen", "no_validation", folder)
    chosen = confidence_threshold(calibrated(valid, temperature), precision)
    if chosen.value is None:
        line = f"--precision {precision}: {folder}: {chosen.reason}; choose a lower precision, or a better model"
        raise RunError(line, "precision_not_reached", folder, precision)
    return chosen.value, f" (precision {precision})"


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
