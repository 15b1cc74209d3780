"""The run that a configuration asks for: found if it is finished, trained otherwise.

A finished run is found without importing what trains."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from musicreclass.errors import DatasetNotFoundError, WeightsError
from musicreclass.hardware.launch import is_worker_rank
from musicreclass.runs.folder import Run, finished_run

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from musicreclass.classifiers.base import LogEpoch

WEIGHTS_FILES = (".pth", ".pt", ".ckpt", ".safetensors")


def find_or_train(cfg: DictConfig, on_epoch: LogEpoch | None = None) -> Run:
    """The run that a configuration asks for: found, if it is finished, else made.

    Args:
        cfg: a checked configuration.
        on_epoch: called after each epoch that is trained; what it raises ends the run.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    path = config["data"].get("path")
    if path and not Path(path).expanduser().is_file():
        raise DatasetNotFoundError(f"data.path={path}: there is no such file")
    refuse_missing_weights(config)
    run = finished_run(config)
    if run is None:
        from musicreclass.tasks.train import train as train_run

        return train_run(cfg, on_epoch)
    if is_worker_rank(config):
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
