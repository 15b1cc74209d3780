"""The types of settings, beyond what their defaults in conf/ already say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SPLITS = ("train", "valid", "test")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")  # as PyTorch Lightning names them


@dataclass(frozen=True)
class Rule:
    """What a setting may be.

    Args:
        kind: bool, int, float, str or list.
        choices: the only values (of a list: of its items) there are.
        low: the least number.
        above: the number that must be exceeded.
        high: the greatest number.
        nullable: whether null is a value.
        filled: whether text or a list must hold something.
        items: of a list: the kind of its items.
        auto: whether `auto` is a value, which the machine decides.
    """

    kind: type
    choices: tuple[Any, ...] = ()
    low: float | None = None
    above: float | None = None
    high: float | None = None
    nullable: bool = False
    filled: bool = False
    items: type | None = None
    auto: bool = False

    def words(self) -> str:
        """The rule as a clause: `a whole number, at least 1`."""
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
        text = ("filled " if self.filled and self.kind is str else "") + names[self.kind]
        text += " of text" if self.items is str else ""
        if self.choices:
            text = ("a list of " if self.kind is list else "") + " or ".join(map(str, self.choices))
        bounds = [f"at least {self.low}" if self.low is not None else "",
                  f"above {self.above}" if self.above is not None else "",
                  f"at most {self.high}" if self.high is not None else ""]  # fmt: skip
        return (
            ", ".join([text, *filter(None, bounds)])
            + (", or auto" if self.auto else "")
            + (", or null" if self.nullable else "")
        )

    def accepts(self, value: Any) -> bool:
        """Whether a value keeps the rule."""
        if value is None:
            return self.nullable
        if self.auto and value == "auto":
            return True
        if self.kind is list:
            return (
                isinstance(value, list)
                and bool(value or not self.filled)
                and all(self.items is None or isinstance(item, self.items) for item in value)
                and all(not self.choices or item in self.choices for item in value)
            )
        if self.choices and self.kind is int:
            return value in self.choices
        if self.kind in (int, float):
            kinds = (int,) if self.kind is int else (int, float)
            return (
                isinstance(value, kinds)
                and not isinstance(value, bool)
                and (self.low is None or value >= self.low)
                and (self.above is None or value > self.above)
                and (self.high is None or value <= self.high)
            )
        if self.filled and not value:
            return False
        return isinstance(value, self.kind) and (not self.choices or value in self.choices)


RULES: dict[str, Rule] = {
    "seed": Rule(int, low=0, high=2**32 - 1),
    "class_weight": Rule(str, choices=("none", "balanced")),
    "evaluate": Rule(list, choices=SPLITS, filled=True),
    "if_locked": Rule(str, choices=("wait", "error")),
    "run_dir": Rule(str, nullable=True),
    "trainer.max_epochs": Rule(int, low=1),
    "trainer.batch_size": Rule(int, low=1),
    "trainer.monitor": Rule(str, choices=("valid/loss", "valid/accuracy", "valid/macro_f1", "train/loss")),
    "trainer.precision": Rule(str, choices=PRECISIONS),
    "trainer.label_smoothing": Rule(float, low=0, high=1),
    "trainer.gradient_clip_norm": Rule(float, above=0, nullable=True),
    "paths.data": Rule(str, nullable=True),
    "paths.outputs": Rule(str, filled=True),
    "paths.cache": Rule(str, filled=True),
    "data.path": Rule(str, filled=True),
    "data.ignore_columns": Rule(list, items=str),
    "data.feature_sets": Rule(list, items=str),
    "data.root": Rule(str, nullable=True),
    "data.split_column": Rule(str, nullable=True),
    "data.group_column": Rule(str, nullable=True),
    "data.on_missing": Rule(str, choices=("impute", "drop", "error")),
    "data.clips_per_artist": Rule(int, low=1),
    "data.subset": Rule(str, choices=("small", "medium", "large", "full")),
    "data.truncated_clips": Rule(str, choices=("keep", "drop")),
    "data.seconds": Rule(int, choices=(30, 3)),
    "data.fold": Rule(int, low=0),
    "data.min_class_tracks": Rule(int, low=1),
    "data.cache": Rule(str, choices=("waveform", "none")),
    "data.clip_seconds": Rule(float, above=0),
    "data.eval_crops": Rule(int, low=1),
    "data.eval_crop_position": Rule(str, choices=("middle", "start")),
    "data.sampler": Rule(str, choices=("none", "balanced")),
    "data.on_bad_file": Rule(str, choices=("skip", "error")),
    "data.max_bad_fraction": Rule(float, low=0, high=1),
    "data.min_seconds": Rule(float, above=0),
    "data.max_tracks": Rule(int, low=2, nullable=True),
    "data.group_by": Rule(str, choices=("auto", "folder", "tag", "none")),
    "data.workers": Rule(int, low=1, auto=True),
    "model.sample_rate": Rule(int, low=1000),
    "model.clip_seconds": Rule(float, above=0),
    "model.eval_crops": Rule(int, low=1),
    "model.eval_crop_position": Rule(str, choices=("middle", "start")),
    "model.prefix": Rule(str, nullable=True),
    "model.pooling": Rule(str, choices=("mean", "cls", "cls_mean")),
    "model.window_seconds": Rule(float, above=0, nullable=True),
    "model.position": Rule(str, choices=("cut", "interpolate")),
    "model.trainable": Rule(str, choices=("head", "last_blocks", "all")),
    "model.last_blocks": Rule(int, low=1),
    "model.layer_decay": Rule(float, above=0, high=1),
    "model.unfreeze_every": Rule(int, low=1, nullable=True),
    "features.prefix": Rule(str, nullable=True),
    "features.pooling": Rule(str, choices=("mean", "cls", "cls_mean")),
    "features.window_seconds": Rule(float, above=0, nullable=True),
    "features.position": Rule(str, choices=("cut", "interpolate")),
    "features.precision": Rule(str, choices=PRECISIONS),
    "features.cache": Rule(str, choices=("waveform", "none")),
    "features.batch_size": Rule(int, low=1),
    "model.frontend.n_fft": Rule(int, low=16),
    "model.frontend.hop_length": Rule(int, low=1),
    "model.frontend.n_mels": Rule(int, low=8),
    "model.frontend.f_min": Rule(float, low=0),
    "model.frontend.f_max": Rule(float, above=0, nullable=True),
    "model.channels": Rule(int, low=1),
    "model.depth": Rule(int, low=1),
    "data.split.valid": Rule(float, above=0, high=0.9),
    "data.split.test": Rule(float, low=0, high=0.9),
    "data.split.folds": Rule(int, low=3, high=9),
    "data.split.seed": Rule(int, low=0),
    "scheduler.interval": Rule(str, choices=("epoch", "step")),
    "optimizer.lr": Rule(float, above=0),
    "optimizer.weight_decay": Rule(float, low=0),
    "early_stopping.patience": Rule(int, low=0, nullable=True),
    "early_stopping.min_delta": Rule(float, low=0),
    "hardware.accelerator": Rule(str, choices=("auto", "cpu", "gpu", "cuda", "mps")),
    "hardware.kind": Rule(str, choices=("jetson", "rtx", "datacenter"), nullable=True),
    "hardware.devices": Rule(int, low=1),
    "hardware.nodes": Rule(int, low=1),
    "hardware.strategy": Rule(str, choices=("auto", "ddp")),
    "hardware.precision": Rule(str, choices=PRECISIONS),
    "hardware.threads": Rule(int, low=1, auto=True),
    "hardware.workers": Rule(int, low=1, auto=True),
    "hardware.prefetch": Rule(int, low=1, auto=True),
    "hardware.pin_memory": Rule(bool, auto=True),
    "hardware.channels_last": Rule(bool, auto=True),
    "hardware.tf32": Rule(bool, auto=True),
    "hardware.compile": Rule(bool, auto=True),
    "hardware.micro_batch": Rule(int, low=1, auto=True, nullable=True),
    "hardware.memory_margin": Rule(float, low=0, high=0.9, auto=True),
    "hardware.gpu_share": Rule(float, above=0, high=1, nullable=True),
    "hardware.empty_cache_every": Rule(int, low=1, auto=True, nullable=True),
    "hardware.monitor_interval": Rule(float, low=0.1, auto=True, nullable=True),
    "augmentation.gain_db": Rule(list, nullable=True),
    "augmentation.stretch_rate": Rule(list, nullable=True),
    "augmentation.pitch_semitones": Rule(list, nullable=True),
    "augmentation.noise_snr": Rule(list, nullable=True),
}


def mismatch(key: str, value: Any, default: Any, foreign: bool = False) -> str | None:
    """What is wrong with a value for a key, in one line, or None.

    Args:
        key: the dotted key.
        value: what it is to be.
        default: what the YAML file says; its type is the rule where none is written above.
        foreign: whether the value goes to another library's class, many of whose parameters take numbers, names or null.
    """
    rule = RULES.get(key)
    if rule is None and foreign and (value is None or (isinstance(default, str) and isinstance(value, (int, float)))):
        return None
    if rule is None and foreign and type(default) in (int, float) and type(value) in (int, float):
        return None
    if rule is None and isinstance(default, (bool, int, float, str)):
        rule = Rule(type(default))
    if rule is None and isinstance(default, (list, tuple)):
        rule = Rule(list)
    if rule is None or rule.accepts(value):
        return None
    shown = "null" if value is None else value
    quote = f"; quote it: '{key}=\"{value}\"'" if rule.kind is str and isinstance(value, (int, float)) else ""
    listed = f"; write {key}=[{value}]" if rule.kind is list and isinstance(value, (str, int, float)) else ""
    return f"{key}={shown}: must be {rule.words()}{quote}{listed}"
