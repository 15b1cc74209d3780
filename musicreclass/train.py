"""The train task, from top to bottom: data, classifier, predictions, report."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import musicreclass
from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.build import build
from musicreclass.data.tracks import TrackData
from musicreclass.errors import UserError
from musicreclass.evaluate import score_split
from musicreclass.hardware.profile import Profile
from musicreclass.identity import run_name, signature
from musicreclass.provenance import provenance
from musicreclass.report.curves import Curves
from musicreclass.report.figures import curves_figure, save_figure
from musicreclass.report.summary import final_results, hyperparameters
from musicreclass.run import Run, Stopwatch

log = logging.getLogger("musicreclass")


def train(cfg: DictConfig) -> Run:
    """Fit the configured model on the configured data, score it, and leave a run folder.

    Args:
        cfg: a checked configuration, as `musicreclass.check.compose` gives it.

    Returns:
        The finished run.

    Raises:
        UserError: for data or a model that cannot be used; nothing was written.
        RunFailedError: for what broke on the way; the run folder holds the traceback.
    """
    config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    watch = Stopwatch()
    profile = Profile.of(config["hardware"])
    with watch.phase("data"):
        data = open_data(config)
        fingerprint = data.fingerprint()
    classifier = build(config, profile, data)

    signed = signature(config, fingerprint)
    folder = Path(config["run_dir"] or Path(config["paths"]["outputs"]) / run_name(config, signed))
    run = Run(folder)
    run.begin(config, {"signature": signed, "fingerprint": fingerprint, "version": musicreclass.__version__,
                       "choices": config.get("choices", {}), "micro_batch": profile.micro_batch})  # fmt: skip
    with run.session():
        for line in (*data.protocol.why, *data.notes):
            log.info("data: %s", line)
        curves = Curves(folder, tensorboard=config["logger"]["tensorboard"])
        with watch.phase("fit"):
            classifier.fit(data, Workspace(folder, curves.log, progress=sys.stderr.isatty()))
        run.save_model(classifier)
        figures = {}
        with watch.phase("score"):
            for split in config["evaluate"]:
                if data.size(split):
                    figures[f"confusion_matrix/{split}"] = score_split(run, classifier, data, split)
                else:
                    data.notes.append(
                        f"{split} was asked for, but this copy of the data has no {split} tracks: not scored"
                    )
                    log.warning(data.notes[-1])
        learned = curves_figure(curves.rows)
        if learned is not None:
            save_figure(learned, folder / "figures" / "learning_curves.png")
        curves.finish(hyperparameters(config), final_results(run.metrics), figures)
        notes = {
            "tracks": {s: data.size(s) for s in ("train", "valid", "test")},
            "dropped": data.dropped,
            "notes": data.notes,
        }
        run.write("provenance.json", provenance(watch.seconds, notes))
    return run


def open_data(config: dict[str, Any], needs: tuple[str, ...] = ("train", "valid")) -> TrackData:
    """The configured DataModule, read and split.

    Args:
        config: a resolved configuration.
        needs: the splits that must have tracks.

    Raises:
        UserError: if the data is not there or cannot be used.
    """
    node = {name: value for name, value in config["data"].items() if name != "provides"}
    data = instantiate({"_target_": node.pop("_target_")}, _partial_=True)(**node)
    if not isinstance(data, TrackData):
        raise UserError(f"data._target_: {type(data).__name__} is not a TrackData")
    data.needs = needs
    data.prepare_data()
    data.setup("fit")
    return data
