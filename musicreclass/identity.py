"""What makes a run the run it is: the part of its configuration that can change the result, and the data's content."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SCIENCE = (  # a key outside these can never change a signature
    "data", "features", "model", "optimizer", "scheduler", "early_stopping", "augmentation", "trainer", "class_weight", "seed",
)  # fmt: skip
PLACES = ("root", "path", "cache", "provides")  # in `data`: where it lies, not what it is; the fingerprint says that
SPEED = ("n_jobs",)  # in `model`: how fast, not what


def scientific(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a resolved configuration that identifies a run."""
    kept = {key: config[key] for key in SCIENCE if key in config}
    for section, left_out in (("data", PLACES), ("model", SPEED)):
        if isinstance(kept.get(section), dict):
            kept[section] = {key: value for key, value in kept[section].items() if key not in left_out}
    return kept


def signature(config: dict[str, Any], fingerprint: str) -> str:
    """A hash of what was asked for and of the data it was asked of: 12 hexadecimal digits."""
    told = json.dumps({"config": scientific(config), "data": fingerprint}, sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def run_name(config: dict[str, Any], signed: str) -> str:
    """A folder name a person can read: data, model, seed, signature."""
    choices = config.get("choices", {})
    parts = [choices.get("data"), choices.get("model"), f"s{config.get('seed')}", signed]
    return "-".join(str(part).replace("/", "_") for part in parts if part)
