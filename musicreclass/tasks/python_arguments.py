"""Arguments of the Python functions: text in place of a list, and what only the command line takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from musicreclass.config.messages import suggestion
from musicreclass.errors import ConfigError, Problem, RunError, UserError

SCORED = ("train", "valid", "test", "all")  # what `evaluate` scores


def as_list(value: str | Iterable[str]) -> list[str]:
    """A list of texts; a single text is a list of one."""
    return [value] if isinstance(value, str) else [str(item) for item in value]


def as_paths(value: Any, name: str) -> list[Path]:
    """A list of paths; a single path is a list of one. `~` is the home folder.

    Args:
        value: one path or several, as text or `Path`.
        name: of the argument.

    Raises:
        UserError: for anything else, and if there are none.
    """
    items = (
        [value] if isinstance(value, (str, os.PathLike)) else list(value) if isinstance(value, Iterable) else [value]
    )
    for item in items or [value]:
        if not isinstance(item, (str, os.PathLike)) or not str(item) or "\0" in str(item):
            line = f"{name}={item!r:.100}: must be a path, or several"
            raise UserError(line, "invalid_value", name, repr(item)[:100])
    return [Path(os.path.expanduser(item)) for item in items]


def as_path(value: Any, name: str) -> Path:
    """One path; see `as_paths`.

    Raises:
        UserError: for anything else.
    """
    if not isinstance(value, (str, os.PathLike)):
        line = f"{name}={value!r:.100}: must be a path"
        raise UserError(line, "invalid_value", name, repr(value)[:100])
    return as_paths(value, name)[0]


def as_path_or_none(value: Any, name: str) -> Path | None:
    """As `as_path`; None stays None."""
    return None if value is None else as_path(value, name)


def check_flags(overrides: Sequence[str]) -> None:
    """Reject flags of the command line.

    Raises:
        UserError: for the first one.
    """
    remedies = {
        "--config-dir": "in Python, pass config_dir=DIR",
        "-m": "Python trains one run; a sweep needs the command line: musicreclass train -m",
        "--trust": "in Python, pass trust=[MODULE]",
    }
    for text in overrides:
        if text.startswith("-"):
            flag = {"--multirun": "-m"}.get(text, text.partition("=")[0])
            message = (
                f"{text}: {remedies.get(flag, 'flags belong to the command line; overrides have the form KEY=VALUE')}"
            )
            raise UserError(message, "flag_in_python", flag)


def without_sweeps(error: ConfigError) -> ConfigError:
    """The same problems, with the advice that Python needs for a sweep."""
    remedy = (
        "several values are a sweep; Python trains one run, and a sweep needs the command line: musicreclass train -m"
    )
    return ConfigError(
        Problem(f"{p.key}: {remedy}", p.kind, p.key, p.value) if p.kind == "sweep_without_multirun" else p
        for p in error.problems
    )


def check_split(split: str) -> None:
    """Reject what is no split.

    Raises:
        UserError: with the splits that can be scored.
    """
    if split not in SCORED:
        message = f"split={split!r}: must be one of {', '.join(SCORED)}, as in mrc.evaluate(run, 'test')"
        raise UserError(message, "invalid_value", "split", split, suggestion(str(split), SCORED))


def check_predictions(folder: Path, split: str) -> None:
    """Reject a split without predictions.

    Raises:
        RunError: with the splits that have some.
    """
    names = sorted(file.stem for file in (folder / "predictions").glob("*.parquet"))
    if split not in names:
        scored = f"it has predictions for {', '.join(names)}" if names else "it has no predictions"
        remedy = "mrc.evaluate(run, 'test') scores another split"
        message = f"{folder}: the run was not scored on {split!r}; {scored}; {remedy}"
        raise RunError(message, "predictions_not_found", "split", split, suggestion(str(split), names))
