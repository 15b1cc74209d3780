"""The `musicreclass` command. Nothing heavy is imported until a task is chosen and its arguments are known to be good."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from musicreclass import __version__
from musicreclass.errors import ConfigError, UserError
from musicreclass.jobs import complain, prepare_job, stopped, train_job

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicreclass.check import Check

VARIABLES = ("MUSICRECLASS_CACHE", "MUSICRECLASS_DATA", "MUSICRECLASS_MODELS")

HELP = """musicreclass TASK ...

Music genre classification experiments whose numbers can be believed.

  train [OVERRIDES] [-m]       fit a model, score it, leave a run folder; -m sweeps over comma lists
  prepare [OVERRIDES]          fetch weights, decode recordings, compute features ahead of training
  evaluate RUN [--split test]  score a finished run on a split, or on other data
  compare RUN_OR_DIR ...       tables of runs, with intervals and paired tests; --output report.html
  inspect PATH                 what a checkpoint or a run folder holds, and what fits it
  monitor [MODEL]              what the machine is doing; how many tracks of a model fit into it at once

  musicreclass train model=xgboost                      on the demo data that the project makes itself
  musicreclass train data=table data.path=features.csv
  musicreclass train -m model=mlp,xgboost seed=1,2,3
  musicreclass compare outputs

`musicreclass TASK --help` lists a task's options. MUSICRECLASS_DEBUG=1 shows the traceback of an error.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one task.

    Args:
        arguments: what follows `musicreclass`; by default the process's own. sys.argv stays as it came, so that a process
            launched from this one can start the same job.

    Returns:
        0; 1 for a run that failed; 2 for a mistake in what was asked for; 130 after Ctrl-C, 143 after SIGTERM.
    """
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # not a terminal's or a file's stream
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal without UTF-8 shows ? for …
    for name in VARIABLES:
        if os.environ.get(name) == "":  # as good as unset
            del os.environ[name]
    try:
        if not words or words[0] in ("-h", "--help", "help"):
            print(HELP, end="")
            return 0
        if words[0] == "--version":
            print(f"musicreclass {__version__}")
            return 0
        task, rest = words[0], words[1:]
        if task not in TASKS:
            from difflib import get_close_matches

            near = get_close_matches(task, TASKS, n=1)
            raise UserError(
                f"{task}: no such task; {f'did you mean {near[0]}?' if near else 'there is ' + ', '.join(TASKS)}"
            )
        return TASKS[task](rest)
    except KeyboardInterrupt as error:
        return stopped(error)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except Exception as error:
        return complain(error)


def train(arguments: list[str]) -> int:
    """`musicreclass train`: check the configuration, then hand it to Hydra, once or as a sweep."""
    args, check = configured("train", arguments)
    if check is None:
        return 0
    if not args.multirun:
        return run_hydra("train", args, train_job)

    from musicreclass.search import Search, quiet_optuna
    from musicreclass.sweep import Sweep

    sweep = Sweep.new(check.outputs(), check.jobs())
    search = Search.of(check, args.overrides, args.config_dir, sweep.folder) if check.is_search() else None
    if search is not None:
        quiet_optuna()
    args.overrides.append(sweep.override())
    ended = 0
    with sweep.watched():
        try:
            run_hydra("train", args, train_job)
        except KeyboardInterrupt as error:
            ended = stopped(error)
        except Exception as error:
            if any(record["state"] in ("lost", "not begun") for record in sweep.records()):  # else they tell it all
                complain(error)
            ended = 1
    code = sweep.finish(show=search is None)
    if search is not None:
        search.report(sweep.records())
    return ended or code


def prepare(arguments: list[str]) -> int:
    """`musicreclass prepare`: what training would do first, done ahead."""
    args, check = configured("prepare", arguments)
    if check is None:
        return 0
    if args.multirun:
        raise UserError("prepare: takes no -m; name one data= and one features= at a time")
    return run_hydra("prepare", args, prepare_job)


def configured(task: str, arguments: list[str]) -> tuple[argparse.Namespace, Check | None]:
    """A task's arguments, and their check; None for it where they only asked for help or information, which was given.

    Raises:
        ConfigError: with every problem of the configuration.
    """
    from musicreclass import config
    from musicreclass.check import Check

    args = config.parse_arguments(task, arguments)
    tree = config.Tree(args.config_dir)
    if args.info or args.hydra_help or args.shell_completion:
        run_hydra(task, args, train_job)
        return args, None
    sys.path.append(os.getcwd())  # so that a `_target_` beside one's own --config-dir is found
    check = Check(tree, task, args.overrides, args.multirun)
    looking = args.help or args.cfg is not None
    problems = [line for line in check.problems() if not (looking and ": a value is needed: " in line)]
    if problems:
        raise ConfigError(problems)
    if args.help:
        print(config.task_help(task, tree, args.overrides), end="")
        return args, None
    return args, check


def run_hydra(task: str, args: argparse.Namespace, job: Callable[[DictConfig], Any]) -> int:
    """Let Hydra compose the configuration and run the task's job with it.

    `hydra.main` would read sys.argv, where the task's name stands in the way; this is what it does with what it read.
    """
    from hydra import version
    from hydra._internal.utils import _run_hydra, get_args_parser

    from musicreclass.config import CONF

    os.environ["HYDRA_FULL_ERROR"] = "1"  # its errors come to us as they are
    version.setbase("1.3")
    if not args.info:
        logging.getLogger("hydra").setLevel(logging.CRITICAL)  # it would say what we say, at length
    _run_hydra(args, get_args_parser(), job, config_path=str(CONF), config_name=task)
    return 0


def evaluate(arguments: list[str]) -> int:
    """`musicreclass evaluate`."""
    from musicreclass.evaluate import main as evaluate_run

    try:
        return evaluate_run(arguments)
    except SystemExit as leaving:
        if {"-h", "--help"} & set(arguments):
            return 0
        return complain(RuntimeError(f"the model's or the data's own code ended the process ({leaving.code})"))


def compare(arguments: list[str]) -> int:
    """`musicreclass compare`."""
    from musicreclass.compare.command import main as compare_runs

    return compare_runs(arguments)


def monitor(arguments: list[str]) -> int:
    """`musicreclass monitor`."""
    from musicreclass.monitor import main as watch

    return watch(arguments)


def inspect(arguments: list[str]) -> int:
    """`musicreclass inspect`."""
    from musicreclass.inspect import main as inspect_path

    return inspect_path(arguments)


TASKS = {
    "train": train,
    "prepare": prepare,
    "evaluate": evaluate,
    "compare": compare,
    "inspect": inspect,
    "monitor": monitor,
}
