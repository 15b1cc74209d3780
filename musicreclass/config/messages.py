"""Parts of messages about configuration."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Collection

from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from musicreclass.errors import Problem

FEW = 12  # names that a message lists
SYNONYMS = {  # names that other frameworks have for settings -> the setting, and how it differs
    "accumulate_grad_batches": ("hardware.micro_batch", "tracks per forward pass; trainer.batch_size stays the effective batch"),
    "gradient_accumulation_steps": ("hardware.micro_batch", "tracks per forward pass; trainer.batch_size stays the effective batch"),
    "learning_rate": ("optimizer.lr", ""),
    "epochs": ("trainer.max_epochs", ""),
    "num_epochs": ("trainer.max_epochs", ""),
    "n_epochs": ("trainer.max_epochs", ""),
    "gradient_clip_val": ("trainer.gradient_clip_norm", ""),
    "limit_train_batches": ("trainer.limit_train_batches", ""),
    "limit_val_batches": ("trainer.limit_valid_batches", ""),
    "num_workers": ("hardware.workers", ""),
    "gpus": ("hardware.devices", ""),
    "patience": ("early_stopping.patience", ""),
    "dataset": ("data", ""),
}  # fmt: skip


def suggestion(name: str, names: Collection[str]) -> str:
    """The nearest valid name; empty if none is near."""
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.5)), "")


def nearest(name: str, names: Collection[str]) -> str:
    """A clause with the nearest valid name, or with all valid names if none is near and they are few."""
    near = suggestion(name, names)
    if near:
        return f"did you mean {near}?"
    return f"choose one of {', '.join(sorted(names))}" if 0 < len(names) <= FEW else "--help lists them"


def one_line(error: BaseException) -> str:
    """The message of a Hydra, OmegaConf or YAML error on one line."""
    cause = error.__cause__ if isinstance(error.__cause__, (OmegaConfBaseException, YAMLError)) else None
    shown = cause or error
    if isinstance(shown, MarkedYAMLError):
        return yaml_reason(shown)
    text = str(shown) or type(error).__name__
    text = re.sub(r"See https?://\S+.*|(?s:Config search path:.*)", "", text)
    lines = [line.strip() for line in text.splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key", "object_type")))


def failed_interpolation(key: str, error: OmegaConfBaseException) -> Problem:
    """The problem of a value with a reference that cannot be resolved.

    Args:
        key: the dotted key of the value.
        error: as OmegaConf raises it.
    """
    text = str(error)
    if missing := re.search(r"Interpolation key '([^']*)' not found", text):
        return Problem(
            f"{key}: ${{{missing[1]}}}: there is no key {missing[1]}", "failed_interpolation", key, missing[1]
        )
    if unset := re.search(r"Environment variable '([^']*)' not found", text):
        line = f"{key}: ${{oc.env:{unset[1]}}}: the environment variable {unset[1]} is not set"
        return Problem(line, "failed_interpolation", key, unset[1])
    if resolver := re.search(r"Unsupported interpolation type (\S+)", text):
        return Problem(
            f"{key}: ${{{resolver[1]}:...}}: there is no resolver {resolver[1]}",
            "failed_interpolation",
            key,
            resolver[1],
        )
    return Problem(f"{key}: {one_line(error)}", "failed_interpolation", key)


def yaml_reason(error: MarkedYAMLError) -> str:
    """File, line and reason of a YAML error."""
    mark = error.problem_mark or error.context_mark
    reason = error.problem or error.context or "not valid YAML"
    reason = "use spaces, not tabs" if "\\t" in reason or "tab character" in reason else reason  # by version of PyYAML
    return reason if mark is None else f"{mark.name}, line {mark.line + 1}: {reason}"


def brief(error: BaseException, limit: int = 160) -> str:
    """The message of an error on one line, cut after a word if it is longer than the limit."""
    text = one_line(error)
    return textwrap.shorten(text, limit, placeholder=" ...") if " " in text[:limit] else text[:limit]
