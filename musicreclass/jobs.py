"""A task's job once its configuration is composed, in whatever process Hydra runs it, and how jobs end."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicreclass.errors import ConfigError, DatasetNotFoundError, RunFailedError, Terminated, UserError, WeightsError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicreclass.run import Run

WEIGHTS_FILES = (".pth", ".pt", ".ckpt", ".safetensors")


def prepare_job(cfg: DictConfig) -> None:
    """Prepare what a configuration names."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from musicreclass.config import with_choices

    cfg = with_choices(cfg, dict(HydraConfig.get().runtime.choices))
    try:
        from musicreclass.prepare import prepare as prepare_all

        config: Any = OmegaConf.to_container(cfg, resolve=True)
        refuse_missing_weights(config)
        prepare_all(config)
    except KeyboardInterrupt as error:
        raise SystemExit(stopped(error)) from None
    except Exception as error:  # ended here, since Hydra would add lines of its own
        raise SystemExit(complain(error)) from None


def train_job(cfg: DictConfig) -> float | None:
    """One job, in whatever process a launcher runs it. Returns the validation macro-F1, for sweepers that optimise."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from musicreclass.config import with_choices

    hydra = HydraConfig.get()
    cfg = with_choices(cfg, dict(hydra.runtime.choices))
    if hydra.mode == RunMode.MULTIRUN:
        from musicreclass.sweep import Sweep

        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # a launcher's process has none of what was appended here
        return Sweep.of(hydra).run_job(cfg, hydra.job.num, list(hydra.overrides.task), hydra.launcher)
    from rich.console import Console

    from musicreclass.ranks import trains_along
    from musicreclass.report.summary import show

    quiet = trains_along(cfg)  # type: ignore[arg-type]  # one of several processes speaks for all
    if not quiet:
        print(
            f"{cfg.choices.get('model')} on {cfg.choices.get('data')}", flush=True
        )  # a sign of life while libraries load
    try:
        run = find_or_train(cfg)
        if not quiet:
            show(run, Console(highlight=False))
    except KeyboardInterrupt as error:
        raise SystemExit(130 if quiet else stopped(error)) from None
    except SystemExit as leaving:
        raise SystemExit(
            complain(RuntimeError(f"the model's or the data's own code ended the process ({leaving.code})"))
        ) from None
    except Exception as error:  # ended here, since Hydra would add lines of its own
        raise SystemExit(complain(error)) from None
    return None


def find_or_train(cfg: DictConfig) -> Run:
    """The run that a configuration asks for: found, if it is finished, else made."""
    from omegaconf import OmegaConf

    from musicreclass.ranks import trains_along
    from musicreclass.run import finished_run

    config: Any = OmegaConf.to_container(cfg, resolve=True)
    path = config["data"].get("path")
    if path and not Path(path).expanduser().is_file():
        raise DatasetNotFoundError(f"data.path={path}: there is no such file")
    refuse_missing_weights(config)
    run = finished_run(config)
    if run is None:
        from musicreclass.train import train as train_run

        return train_run(cfg)
    if trains_along(config):
        return run
    print(f"found finished: {run.folder} (force=true trains it again)")
    if run.is_stale:
        print("musicreclass: the code has changed since this run; force=true trains it again", file=sys.stderr)
    return run


def refuse_missing_weights(config: dict[str, Any]) -> None:
    """Say that a file of weights is not there, before anything is read.

    Raises:
        WeightsError: for the first that `features` or `model` names.
    """
    for section in ("features", "model"):
        weights = config.get(section, {}).get("checkpoint")
        if str(weights).endswith(WEIGHTS_FILES) and not Path(weights).expanduser().is_file():
            told = (
                f"put the weights there, or say where they are: {section}.checkpoint=FILE, MUSICRECLASS_MODELS=FOLDER"
            )
            raise WeightsError(f"{section}.checkpoint={weights}: there is no such file; {told}")


def complain(error: Exception) -> int:
    """Say what went wrong, in one line for each thing that did; return the exit code."""
    if os.environ.get("MUSICRECLASS_DEBUG") == "1":
        traceback.print_exception(error)
    asked = isinstance(error, (UserError, OSError)) or type(error).__module__.startswith(("hydra.", "omegaconf."))
    for line in error.problems if isinstance(error, ConfigError) else [str(error)]:
        told = " ".join(line.split()) or type(error).__name__
        if isinstance(error, OSError):
            told = f"{error.filename or 'the system'}: {error.strerror or told}"
        elif not (asked or isinstance(error, RunFailedError)):
            told = f"{type(error).__name__}: {told}"
        print(f"musicreclass: {told}", file=sys.stderr)
    return 2 if asked else 1


def stopped(error: KeyboardInterrupt) -> int:
    """What is said after Ctrl-C or SIGTERM, and the exit code that shells expect then."""
    print("musicreclass: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
    return 143 if isinstance(error, Terminated) else 130
