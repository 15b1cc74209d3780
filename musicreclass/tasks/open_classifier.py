"""Opens what labels recordings, finished runs or a tagger, with the options that the command line and Python share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from musicreclass.errors import UserError
from musicreclass.runs.folder import Run

if TYPE_CHECKING:
    from musicreclass.prediction.file_classifier import FileClassifier


@dataclass(frozen=True)
class LabelOptions:
    """How recordings are labelled.

    Attributes:
        calibrated: whether the probabilities are calibrated on the validation tracks.
        precision: the share of labels that should be right; less confident ones become `unknown`. None labels everything
            that resembles the training tracks.
        top_k: classes that a label lists.
        class_map: name or file of a map from the classes of the runs to those of the labels.
        config_dir: your own configuration folder, which may have class maps and taggers.
        overrides: `paths.cache=DIR`, or where the weights of encoders are now.
        trust: your own modules that the models need.
        time_limit: seconds to read a recording, or twice its duration if that is longer.
    """

    calibrated: bool = True
    precision: float | None = None
    top_k: int = 3
    class_map: str | None = None
    config_dir: str | None = None
    overrides: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    time_limit: float = 300.0

    def check(self) -> None:
        """Check the values that need no run.

        Raises:
            UserError: for the first invalid one.
        """
        is_valid = {
            "precision": self.precision is None or (is_number(self.precision) and 0 < self.precision < 1),
            "top_k": isinstance(self.top_k, int) and is_number(self.top_k) and self.top_k >= 1,
            "time_limit": is_number(self.time_limit) and self.time_limit > 0,
        }
        rules = {
            "precision": "must be between 0 and 1, as 0.9",
            "top_k": "must be a whole number of at least 1",
            "time_limit": "must be a positive number of seconds",
        }
        for name, rule in rules.items():
            if not is_valid[name]:
                value = getattr(self, name)
                raise UserError(f"{name}={value!r:.100}: {rule}", "invalid_value", name, value)


def is_number(value: object) -> bool:
    """Whether a value is a finite number, and no boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def open_classifier(names: Sequence[Path], options: LabelOptions) -> FileClassifier:
    """Open finished runs, or a tagger such as musicnn, to label recordings.

    Args:
        names: run folders, the probabilities of several are averaged; or the name of one tagger.
        options: how recordings are labelled.

    Raises:
        UserError: for invalid options, and for what cannot label recordings.
    """
    options.check()
    names = list(dict.fromkeys(names))
    if not names:
        raise UserError("name a run folder, or musicnn, which needs no training", "missing_value", "run")
    if len(names) == 1 and not names[0].exists():
        from musicreclass.tasks.tagger import open_tagger, tagger_names

        if (name := str(names[0])) in tagger_names(options.config_dir):
            check_options_of_tagger(name, options)
            tagger = open_tagger(name, options.top_k, options.overrides, options.config_dir)
            return replace(tagger, time_limit=options.time_limit)
    for folder in names:
        Run.open(folder)  # a wrong path is reported before anything heavy is imported
    from musicreclass.tasks.file_classifier import open_file_classifier

    return replace(open_file_classifier(names, options), time_limit=options.time_limit)


def check_options_of_tagger(name: str, options: LabelOptions) -> None:
    """Make sure that no option is set that needs validation tracks or classes.

    Raises:
        UserError: if one is.
    """
    if options.precision is not None:
        line = (
            f"precision={options.precision}: {name} has no validation tracks, so no threshold can be chosen; use a run"
        )
        raise UserError(line, "no_validation", "precision")
    if options.class_map is not None:
        line = f"class_map={options.class_map}: {name} maps tags to genres in conf/tagger/; edit a copy of that file instead"
        raise UserError(line, "invalid_arguments", "class_map")
