"""Preset values that depend on the size of the training data: `auto` in conf/, resolved once the data is known.

docs/approaches.md has the cross-validation that the rules were chosen by. Rules are steps rather than curves, so that folds of one
dataset, which differ by a few tracks, get equal values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from musicreclass.config.settings.tasks import TrainSettings

SMALL = 2_000  # training tracks up to which accuracy, not time, decides


@dataclass(frozen=True)
class Sizes:
    """What the rules depend on.

    Attributes:
        tracks: in the training split.
        features: per track; 0 for audio.
        classes: number of classes.
        smallest_class: training tracks of the rarest class that has any.
    """

    tracks: int
    features: int
    classes: int
    smallest_class: int


Rule = Callable[[Sizes], Any]


def steps(small: Any, large: Any) -> Rule:
    """A rule with one value up to `SMALL` training tracks, and another above."""
    return lambda sizes: small if sizes.tracks <= SMALL else large


def calibration_folds(sizes: Sizes) -> int:
    """Five folds for small tables, three for others, and no more than each class has tracks (at least two)."""
    return max(2, min(5 if sizes.tracks <= SMALL else 3, sizes.smallest_class))


def batch_size(sizes: Sizes) -> int:
    """Smaller batches for small tables, whose epochs have few steps."""
    return 32 if sizes.features and sizes.tracks <= SMALL else 64


def tree_features(sizes: Sizes) -> float:
    """For small tables a fifth of the features for each tree, but at least ten of them, or all."""
    return 1.0 if sizes.tracks > SMALL else round(min(1.0, max(0.2, 10 / max(1, sizes.features))), 2)


# A validation split of few tracks stops too early, so small tables get a fixed number of rounds.
BOOSTING: dict[str, Rule] = {
    "n_estimators": steps(300, 500),
    "learning_rate": steps(0.1, 0.3),
    "max_depth": steps(4, 6),
    "subsample": steps(0.8, 1.0),
    "colsample_bytree": tree_features,
    "early_stopping_rounds": steps(None, 25),
}
MODEL_RULES: dict[str, dict[str, Rule]] = {  # by `_target_`
    "musicreclass.models.mlp.MLP": {"dropout": steps(0.5, 0.3)},
    "sklearn.calibration.CalibratedClassifierCV": {"cv": calibration_folds},
    "xgboost.XGBClassifier": BOOSTING,
    "xgboost.sklearn.XGBClassifier": BOOSTING,
}
TRAINER_RULES: dict[str, Rule] = {"batch_size": batch_size}


def auto_values(settings: TrainSettings, sizes: Sizes) -> dict[str, Any]:
    """The value for each key that is `auto` and has a rule, by dotted key."""
    rules = {
        "model": MODEL_RULES.get(str(settings.model.target), {}),
        "trainer": {} if settings.model.is_estimator else TRAINER_RULES,
    }
    return {
        f"{section}.{name}": rule(sizes)
        for section, by_name in rules.items()
        for name, rule in by_name.items()
        if getattr(getattr(settings, section), name) == "auto"
    }


def resolve_auto(settings: TrainSettings, sizes: Sizes) -> TrainSettings:
    """The settings with a value in place of every `auto` that has a rule; explicit values are kept."""
    changes: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in auto_values(settings, sizes).items():
        section, name = key.split(".")
        changes[section][name] = value
    return settings.model_copy(
        update={section: getattr(settings, section).model_copy(update=values) for section, values in changes.items()}
    )
