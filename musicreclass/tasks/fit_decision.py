"""What the validation tracks of finished runs decide about labels: the temperature, and thresholds of a precision or of tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from musicreclass.data.class_map import ClassMap, read_class_map
from musicreclass.errors import UserError
from musicreclass.evaluation.calibration import calibrate, why_uncalibrated
from musicreclass.evaluation.predictions import Predictions
from musicreclass.evaluation.tag_metrics import tag_thresholds
from musicreclass.prediction.labels import Decision, TagDecision
from musicreclass.runs.folder import Run
from musicreclass.tasks.open_classifier import LabelOptions
from musicreclass.tasks.promises import NO_VALIDATION, promise, threshold_for


@dataclass(frozen=True)
class Fitted:
    """From the probabilities of models to labels.

    Attributes:
        decision, class_map, temperature, promise: as in `FileClassifier`.
        uncalibrated: why the probabilities are not calibrated although they should be; empty otherwise.
        settings: all that labels depend on, besides the runs.
    """

    decision: Decision
    class_map: ClassMap | None = None
    temperature: float = 1.0
    promise: str = ""
    uncalibrated: str = ""
    settings: dict[str, object] = field(default_factory=dict)


def fit_classes(runs: list[Run], valid: Predictions | None, classes: Sequence[str], options: LabelOptions) -> Fitted:
    """Fit the temperature and the threshold of runs with one label a track.

    Args:
        runs: of which probabilities are combined.
        valid: their combined predictions of the validation tracks; None if there are none.
        classes: of the runs.
        options: how recordings are labelled.

    Raises:
        RunError: if no threshold reaches the precision.
        UserError: for a class map that cannot be used.
    """
    calibration = calibrate(valid) if options.calibrated and valid is not None else None
    temperature = 1.0 if calibration is None else float(calibration["temperature"])
    uncalibrated = ""
    if options.calibrated and calibration is None:
        uncalibrated = NO_VALIDATION if valid is None else why_uncalibrated(valid)
    mapping = None if options.class_map is None else read_class_map(options.class_map, options.config_dir, "class_map")
    labels = list(classes) if mapping is None else mapped_classes(mapping, classes)
    chosen = None
    if options.precision is not None:
        chosen = threshold_for(runs, valid, temperature, options.precision, mapping)
    threshold = 0.0 if chosen is None or chosen.value is None else chosen.value
    settings: dict[str, object] = {
        "calibrated": options.calibrated,
        "temperature": temperature,
        "threshold": threshold,
        "top_k": options.top_k,
        "class_map": None if mapping is None else mapping.classes,
    }
    decision = Decision(labels, options.top_k, threshold)
    return Fitted(decision, mapping, temperature, "" if chosen is None else promise(chosen), uncalibrated, settings)


def fit_tags(runs: list[Run], valid: Predictions | None, classes: Sequence[str], options: LabelOptions) -> Fitted:
    """Fit the thresholds of runs with several labels a track; see `fit_classes`.

    Raises:
        UserError: if an option of classes is set.
    """
    check_options_of_tags(options)
    thresholds = thresholds_of_tags(runs, valid, classes)
    settings: dict[str, object] = {
        "calibrated": False,
        "temperature": 1.0,
        "threshold": 0.0,
        "top_k": options.top_k,
        "thresholds": thresholds,
        "class_map": None,
    }
    return Fitted(TagDecision(list(classes), options.top_k, thresholds=tuple(thresholds)), settings=settings)


def check_options_of_tags(options: LabelOptions) -> None:
    """Make sure that no option of classes is set for tags.

    Raises:
        UserError: if one is.
    """
    for name, value in (("precision", options.precision), ("class_map", options.class_map)):
        if value is not None:
            line = f"{name}={value}: is not supported for several labels a track; each tag has its own threshold"
            raise UserError(line, "unsupported_option", name, value)


def thresholds_of_tags(runs: Sequence[Run], valid: Predictions | None, classes: Sequence[str]) -> list[float]:
    """The thresholds with the highest F1 of each tag on the validation tracks; without them, those of imported weights, or 0.5."""
    imported = runs[0].metrics.get("thresholds", {}) if len(runs) == 1 and runs[0].is_imported else {}
    thresholds = imported if valid is None else tag_thresholds(valid)
    return [thresholds.get(name, 0.5) for name in classes]


def mapped_classes(class_map: ClassMap, classes: Sequence[str]) -> list[str]:
    """The classes that a map gives some classes, sorted."""
    return sorted({target for target in class_map.targets_of(classes) if target is not None})
