"""The part of a configuration that can change a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SCIENCE = (  # a key outside these can never change a signature
    "data",
    "features",
    "model",
    "optimizer",
    "scheduler",
    "early_stopping",
    "augmentation",
    "trainer",
    "class_weight",
    "seed",
)


PLACES = ("root", "path", "store")  # in `data`: where it lies, not what it is; the fingerprint says that


HANDLING = ("provides", "cache", "workers", "on_bad_file", "max_bad_fraction")  # in `data`: how it is read


CLIPS = (
    "sample_rate",
    "clip_seconds",
    "eval_crops",
    "eval_crop_position",
)  # in `data`: what clips are; a table of `features` has none


ESTIMATORS = ("sklearn.", "xgboost.", "lightgbm.", "catboost.")  # whose fits read none of what trains a network


TRAINING = ("optimizer", "scheduler", "early_stopping", "trainer")


SPEED = ("n_jobs",)  # in `model`: how fast, not what


FETCHED = (
    "batch_size",
    "folder",
    "wheel",
    "cache",
)  # in `features`: how fast, where weights lie that are known by name, and how recordings are read


WEIGHTS = "checkpoint"  # in `model` and `features`: a file, whose content counts and not its place


def is_estimator(config: dict[str, Any]) -> bool:
    """Whether a configuration's model is known to read none of the training settings."""
    return str(config.get("model", {}).get("_target_")).startswith(ESTIMATORS)


def weights_file(config: dict[str, Any], section: str) -> Path | None:
    """The file of pretrained weights that `model` or `features` names, if it is there."""
    node = config.get(section)
    named = node.get(WEIGHTS) if isinstance(node, dict) else None
    if not isinstance(named, str) or not ("/" in named or Path(named).suffix):  # a known network's name, or `random`
        return None
    path = Path(named).expanduser()
    return path if path.is_file() else None
