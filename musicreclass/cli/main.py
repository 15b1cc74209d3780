"""The `musicreclass` command. Nothing heavy is imported until a task is chosen and its arguments are valid."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TextIO

from musicreclass.cli.messages import report_error, report_stop, show_notices
from musicreclass.cli.terminal import FAILURES, say
from musicreclass.errors import UserError
from musicreclass.version import __version__

TASKS = (
    "train",
    "prepare",
    "analyze",
    "evaluate",
    "predict",
    "review",
    "compare",
    "cite",
    "ensemble",
    "organize",
    "inspect",
    "monitor",
    "tensorboard",
    "import",
    "export",
    "new",
    "completion",
    "cache",
)  # a module of this package each
MODULES = {"import": "import_weights"}  # of tasks that a module cannot be named after
VARIABLES = ("MUSICRECLASS_CACHE", "MUSICRECLASS_DATA", "MUSICRECLASS_MODELS")

HELP = """musicreclass TASK ...          without a task: what to do next in this folder

Reproducible, leak-checked music genre classification.

  train [OVERRIDES] [-m]       train a model, score it, write a run folder;
                               -m sweeps over comma-separated values
  prepare [OVERRIDES]          fetch weights, decode recordings and compute
                               features before training
  analyze [OVERRIDES]          show what a dataset contains: counts, formats,
                               leaks, features, spectrograms; a page to read
  evaluate RUN [--split test]  score a finished run on another split or on
                               other data
  predict RUN --input DIR      label a folder of recordings: --output
                               genres.csv (or .jsonl, .parquet)
  review genres.csv            a page to check labels by ear:
                               --output review.html
  compare RUN_OR_DIR ...       compare runs, with intervals and paired tests;
                               --output report.html, .csv, .tex
  cite RUN_OR_DIR ...          BibTeX of what runs used: datasets, encoders,
                               models, statistical tests
  ensemble RUN RUN ...         combine finished runs;
                               --method mean|weighted|greedy|stacking|cascade
  organize genres.csv          genre folders, playlists and tags from labels,
                               with undo; --mode link|copy|move --to DIR
  inspect PATH                 show what a checkpoint or a run folder contains,
                               and how it can be used
  monitor [MODEL]              show the state of the machine; measure how many
                               tracks of a model fit at once
  tensorboard RUN_OR_DIR ...   open runs in TensorBoard, under readable names
  import FILE                  turn weights that were trained elsewhere into a
                               run folder
  export RUN [--output FILE]   write the model of a run as an ONNX file
  new dataset|model|encoder    write a template of your own dataset, model or
                               encoder: NAME --kind audio|table
  cache [--prune]              what the store of decoded audio and features
                               holds, and deletion of what is not used
  completion bash|zsh|fish     complete tasks, options and settings with the
                               TAB key; --install installs it

  musicreclass train model=xgboost              on the synthetic demo data
  musicreclass train data=table data.path=features.csv
  musicreclass train -m model=mlp,xgboost seed=1,2,3
  musicreclass compare outputs

`musicreclass TASK --help` lists the options of a task. MUSICRECLASS_DEBUG=1
shows the traceback of an error.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one task.

    Args:
        arguments: what follows `musicreclass`; by default the arguments of the process. sys.argv is not changed, so that a
            process launched from this one can start the same job.

    Returns:
        0 for success, 1 for a run that failed, 2 for invalid arguments, configuration or data, 130 after Ctrl-C, 143 after
        SIGTERM, 129 after SIGHUP (a closed terminal).
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    sys.stdout, sys.stderr = sys.stdout or open_null(), sys.stderr or open_null()  # closed with >&-
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a stream that is neither a terminal nor a file
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without UTF-8 shows ? for …
    show_notices()
    for name in VARIABLES:
        if os.environ.get(name) == "":  # an empty variable counts as unset
            del os.environ[name]
    try:
        code = run_task(arguments)
    except KeyboardInterrupt as error:
        return report_stop(error)
    except Exception as error:
        return report_error(error)
    return code or (1 if FAILURES else 0)


def open_null() -> TextIO:
    """A stream whose output is lost."""
    return open(os.devnull, "w", encoding="utf-8")


def run_task(arguments: list[str]) -> int:
    """Run the task that the first argument names; return its exit code.

    Raises:
        UserError: if there is no such task, and what the task raises.
    """
    if not arguments:
        from musicreclass.cli.next_steps import next_steps

        say(next_steps(Path()))
        return 0
    if arguments[0] in ("-h", "--help", "help"):
        say(HELP.rstrip("\n"))
        return 0
    if arguments[0] == "--version":
        say(f"musicreclass {__version__}")
        return 0
    task, *rest = arguments
    if task not in TASKS:
        from musicreclass.config.messages import nearest, suggestion  # imports OmegaConf, which --help does not need

        near = suggestion(task, TASKS)
        raise UserError(f"{task}: no such task; {nearest(task, TASKS)}", "unknown_task", task, None, near)
    return int(import_module(f"musicreclass.cli.{MODULES.get(task, task)}").main(rest))
