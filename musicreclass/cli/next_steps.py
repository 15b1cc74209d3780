"""`musicreclass` without arguments: what to do next in the working directory. Reads file names and first lines only."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from shlex import quote

from musicreclass.data.audio.suffixes import SUFFIXES
from musicreclass.plurals import counted
from musicreclass.storage.regular import open_regular, read_regular_text
from musicreclass.version import __version__

DATASETS = {"gtzan": "gtzan", "fma": "fma_features"}  # names of folders, in any case, and options of data=
MAX_ENTRIES = 2000  # of a folder that are read
Step = tuple[str, str]  # a command and its purpose


def next_steps(folder: Path) -> str:
    """What a folder contains, with commands for it.

    Args:
        folder: the working directory.
    """
    sections = [*run_steps(folder), *label_steps(folder), *data_steps(folder), *own_steps(folder)]
    if not sections:
        sections = [
            ("No runs and no data in this folder. A first try on synthetic genres (minutes):",
             [("musicreclass train -m experiment=demo model=mlp,xgboost,logreg", "train three models"),
              ("musicreclass compare outputs", "compare them")])
        ]  # fmt: skip
    lines = [f"musicreclass {__version__}: reproducible, leak-checked music genre classification"]
    for heading, steps in sections:
        lines += ["", heading]
        for command, purpose in steps:
            lines += [f"  # {purpose}", f"  {command}"]
    return "\n".join([*lines, "", "musicreclass --help lists all tasks."])


def run_steps(folder: Path) -> Iterator[tuple[str, list[Step]]]:
    """Commands for the runs in a folder, if there are any."""
    path, parent = "outputs", folder / "outputs"
    state_of = {run: state for run in entries(parent) if (state := run_state(run))}
    if not state_of:
        path, state_of = ".", {run: state for run in entries(folder) if (state := run_state(run))}
    if not state_of:
        return
    runs = Counter(state_of.values())
    total = sum(runs.values())
    states = ", ".join(f"{n} {state}" for state, n in sorted(runs.items()))
    steps = []
    if runs["done"]:
        steps = [
            (f"musicreclass compare {path} --output report.html", "compare the finished runs"),
            (f"musicreclass tensorboard {path}", "learning curves"),
        ]
    if total > runs["done"] + runs["running"]:
        steps.append(("musicreclass train ...", "the same command again resumes an unfinished run"))
    if runs["done"]:
        steps.append(use_step([run.relative_to(folder) for run, state in state_of.items() if state == "done"], folder))
    yield f"{counted(total, 'run')} in {path} ({states}):", steps


def use_step(runs: list[Path], folder: Path) -> Step:
    """The command that uses finished runs: recordings are labelled if a model can read them.

    Args:
        runs: paths relative to the working directory.
        folder: the working directory.
    """
    from musicreclass.runs.model_input import labels_recordings, scoring_arguments

    able = [run for run in runs if labels_recordings(folder / run)]
    if able:
        name = quote(able[0].as_posix()) if len(able) < len(runs) or len(runs) == 1 else "RUN"
        return f"musicreclass predict {name} --input DIR --output genres.csv", "label recordings with a run"
    name = quote(runs[0].as_posix()) if len(runs) == 1 else "RUN"
    arguments = scoring_arguments(folder / runs[0])
    return (
        f"musicreclass evaluate {name} {arguments}",
        f"score a run on {'another table' if 'TABLE' in arguments else 'test'}",
    )


def run_state(folder: Path) -> str:
    """The state of the run in a folder; empty if there is none."""
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        return str(json.loads(read_regular_text(folder / "status.json")).get("state", ""))
    return ""


def label_steps(folder: Path) -> Iterator[tuple[str, list[Step]]]:
    """Commands for tables of labels that predict has written."""
    for path in entries(folder):
        if {"path", "genre", "confidence"} <= columns(path):
            name = quote(path.name)
            yield (
                f"Labels of recordings in {path.name}:",
                [
                    (f"musicreclass review {name} --output review.html", "check them by ear"),
                    (f"musicreclass organize {name} --mode link --to GENRES", "genre folders of links"),
                ],
            )


def data_steps(folder: Path) -> Iterator[tuple[str, list[Step]]]:
    """Commands for datasets, genre folders and feature tables."""
    for path in entries(folder):
        if path.is_dir() and (option := DATASETS.get(path.name.lower())):
            yield dataset_steps(path.name, f"data={option} data.root={quote(path.name)}", "logreg")
        elif "label" in columns(path):
            groups = [name for name in ("group", "artist") if name in columns(path)]
            extra = " data.split_column=split" * ("split" in columns(path)) + "".join(
                f" data.group_column={name}" for name in groups[:1]
            )
            yield dataset_steps(path.name, f"data=table data.path={quote(path.name)}{extra}", "xgboost")
    for path in [folder, *(entry for entry in entries(folder) if entry.is_dir() and entry.name != "outputs")]:
        if sum(any(map(is_audio, entries(genre))) for genre in islice(entries(path), 50)) >= 2:
            yield dataset_steps(path.name, f"data=folder data.root={quote(path.name) or '.'}", "cnn_small")


def dataset_steps(name: str, data: str, model: str) -> tuple[str, list[Step]]:
    """Commands for a dataset."""
    return f"Data in {name or 'this folder'}:", [
        (f"musicreclass analyze {data}", "counts, formats, leaks"),
        (f"musicreclass train {data} model={model}", "train a model"),
    ]


def own_steps(folder: Path) -> Iterator[tuple[str, list[Step]]]:
    """Commands for the user's own options, as `musicreclass new` writes them."""
    options = sorted(f"{path.parent.name}={path.stem}" for path in islice((folder / "my_conf").glob("*/*.yaml"), 20))
    if options:
        yield (
            "Options of your own in my_conf:",
            [(f"musicreclass train --config-dir my_conf {option}", "use it") for option in options[:3]],
        )


def entries(folder: Path) -> list[Path]:
    """The visible entries of a folder, sorted; none if it cannot be read."""
    try:
        with os.scandir(folder) as scan:
            names = sorted(entry.name for entry in islice(scan, MAX_ENTRIES) if not entry.name.startswith("."))
    except OSError:
        return []
    return [folder / name for name in names]


def is_audio(path: Path) -> bool:
    """Whether a path has the suffix of a recording."""
    return path.suffix.lower() in SUFFIXES


def columns(path: Path) -> set[str]:
    """The names in the first line of a CSV file; empty for anything else."""
    if path.suffix.lower() != ".csv":
        return set()
    with suppress(OSError, ValueError, csv.Error), open_regular(path) as file:
        line = file.readline(1_000_000).decode("utf-8-sig")
        return {name.strip() for name in next(csv.reader([line]), [])}
    return set()
