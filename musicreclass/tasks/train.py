"""The train task, from top to bottom: data, classifier, predictions, report."""

from __future__ import annotations

import logging
import os
import random
import sys
import time
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from musicreclass.classifiers.base import Classifier, LogEpoch, Workspace
from musicreclass.classifiers.factory import build
from musicreclass.config.schema import SPLITS
from musicreclass.config.science import is_estimator, weights_file
from musicreclass.data.tracks import TrackData
from musicreclass.errors import ConfigError, RunError
from musicreclass.features.embeddings import EmbeddedTracks
from musicreclass.hardware.launch import is_worker_rank, launch_id, launcher, processes
from musicreclass.hardware.monitor import Monitor
from musicreclass.hardware.profile import Profile
from musicreclass.report.figures import curves_figure, save_figure, spectrogram_figure
from musicreclass.report.history import Curves
from musicreclass.report.progress import progress_bar
from musicreclass.report.summary import FINAL, final_results, hyperparameters
from musicreclass.runs.code_version import code_version
from musicreclass.runs.folder import Run
from musicreclass.runs.provenance import Stopwatch, provenance
from musicreclass.runs.signature import located, remember_fingerprint, run_folder, scientific, signature
from musicreclass.storage.locks import Lock
from musicreclass.tasks.open_data import open_data
from musicreclass.tasks.score import score_split
from musicreclass.version import __version__

log = logging.getLogger("musicreclass")
PATIENCE = 300  # seconds in which nobody is at work on a run that this process is to train along


def train(cfg: DictConfig, on_epoch: LogEpoch | None = None) -> Run:
    """Fit the configured model on the configured data, score it, and leave a run folder.

    Args:
        cfg: a checked configuration, as `musicreclass.config.check.compose` gives it.
        on_epoch: called after each epoch (of a resumed run: also for the epochs it has); what it raises ends the run.

    Returns:
        The finished run.

    Raises:
        UserError: for data or a model that cannot be used; nothing was written.
        RunFailedError: for what broke on the way; the run folder holds the traceback.
    """
    watch = Stopwatch()
    profile, config = hardware_profile(cfg)
    if profile.nodes > 1 and not launcher() and "MASTER_ADDR" not in os.environ:
        told = "nothing has launched the processes: start them with srun or torchrun"
        raise ConfigError([f"hardware.nodes={profile.nodes}: {told}"])
    with watch.phase("data"):
        data = open_data(config)
        fingerprint = data.fingerprint()
    remember_fingerprint(config, data.files(), fingerprint)
    seed_global_state(config["seed"])  # a network of one's own may draw its weights from it
    classifier = build(config, profile, data)
    run = Run(run_folder(config, fingerprint))
    signed = signature(config, fingerprint)
    if is_worker_rank(config):
        train_along(run, config, data, classifier)
        return run
    asked = None if is_estimator(config) else profile.micro_batch
    identity = {
        "signature": signed,
        "fingerprint": fingerprint,
        "version": __version__,
        "code": code_version(config),
        "choices": config.get("choices", {}),
        "source": data.source(),
        "encoder": data.encoder_fingerprint if isinstance(data, EmbeddedTracks) else None,
        "micro_batch": asked,
        "micro_batch_asked": asked,
        "processes": processes(config),
    }
    with run.claimed(config["if_locked"]):
        there = run.identity.get("signature")
        if there not in (None, signed) and not config["force"]:
            raise RunError(
                f"run_dir={run.folder}: holds another run ({there}); name another folder, or force=true replaces it"
            )
        if run.state == "done" and not config["force"]:
            score_missing(run, data, config)
            return run
        resume = there == signed and not config["force"]
        if resume and not made_alike(run.identity, identity):
            was = {name: run.identity.get(name) for name in ("code", "micro_batch", "processes")}
            told = "the code, the micro-batch or the number of processes has changed"
            log.warning("what has begun with %s starts over: %s", was, told)
            print(f"musicreclass: {run.folder}: {told}: it starts over", file=sys.stderr)
            resume = False
        if resume:
            identity["micro_batch"] = run.identity.get(
                "micro_batch"
            )  # as it was measured, or lowered for lack of memory
        if processes(config) > 1:
            assert run.lock is not None
            identity["launch"] = {"id": launch_id(), "lock": run.lock.owner["token"], "resume": resume}
        run.begin(located(config), identity, resume)
        with run.session():
            for line in profile.why:
                log.info("hardware: %s", line)
            for line in profile.warnings:
                log.warning(line)
            fit_and_score(run, config, data, classifier, watch, resume, profile, on_epoch)
    return run


def train_along(run: Run, config: dict[str, Any], data: TrackData, classifier: Classifier) -> None:
    """What all processes but the first do: train with it, once it has begun the run, and leave the folder alone."""
    log.addHandler(logging.NullHandler())  # else warnings would come up once for each process
    lock, since = Lock(run.folder / ".lock"), time.monotonic()
    while True:
        if run.state == "done" and not config["force"]:  # nothing is trained
            return
        holder, launch = lock.holder(), run.identity.get("launch") or {}
        if holder is not None:
            if (launch.get("id"), launch.get("lock")) == (launch_id(), holder.get("token")):
                break
            since = time.monotonic()
        if time.monotonic() - since > PATIENCE:
            told = "it may have failed, or the machines have no folder in common"
            raise RunError(f"{run.folder}: the first process of this launch has not begun in {PATIENCE} s: {told}")
        time.sleep(0.2)
    seed_global_state(config["seed"])
    classifier.fit(
        data, Workspace(run.folder, lambda epoch, values: None, launch["resume"], None, run.identity["micro_batch"])
    )


def made_alike(begun: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Whether a run goes on as it began: by the same code, in as many processes, with a micro-batch that it had or is left to it."""
    asked = identity["micro_batch_asked"]
    kept = asked == "auto" or asked in (begun.get("micro_batch"), begun.get("micro_batch_asked"))
    return kept and begun.get("processes", 1) == identity["processes"] and begun.get("code") == identity["code"]


def hardware_profile(cfg: DictConfig) -> tuple[Profile, dict[str, Any]]:
    """What the run may use of this machine, and the configuration, resolved.

    Where a profile, rather than the user, asks for a precision that the machine lacks, `trainer.precision` becomes the one
    that is taken, ahead of the run's signature.
    """
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    asked = config["trainer"]["precision"]
    if is_estimator(config) and not (config.get("features") or {}).get("_target_"):
        asked = "32-true"  # nobody computes in it
    profile = Profile.of(config["hardware"], asked, named=not OmegaConf.is_interpolation(cfg.trainer, "precision"))
    if profile.precision != asked:
        taken = OmegaConf.merge(cfg, {"trainer": {"precision": profile.precision}})
        config = OmegaConf.to_container(taken, resolve=True)
    for line in () if is_worker_rank(config) else profile.warnings:
        print(f"musicreclass: {line}", file=sys.stderr)
    return profile, config


def fit_and_score(
    run: Run, config: dict[str, Any], data: TrackData, classifier: Classifier, watch: Stopwatch, resume: bool,
    profile: Profile, on_epoch: LogEpoch | None = None,
) -> None:  # fmt: skip
    """What happens inside a run's session."""
    for section in ("features", "model"):
        if config.get(section, {}).get("checkpoint") == "random":
            data.notes.append(
                f"{section}.checkpoint=random: the encoder has learned nothing yet, no pretrained weights were used"
            )
    for line in (*data.protocol.why, *data.notes):
        log.info("data: %s", line)
    curves = Curves(run.folder, config["logger"]["tensorboard"], resume)

    monitor = Monitor(profile.monitor_interval, run.folder, 0 if profile.accelerator == "cuda" else None)

    def note(epoch: int, values: dict[str, float]) -> None:
        run.check_lock()
        curves.log(epoch, {**values, **monitor.epoch()})
        if on_epoch is not None:
            on_epoch(epoch, values)

    if on_epoch is not None:
        for row in curves.rows:
            on_epoch(int(row["epoch"]), row)

    def note_micro_batch(size: int | None) -> None:
        run.check_lock()
        whole = config["trainer"]["batch_size"]
        run.write("identity.json", {**run.identity, "micro_batch": None if size is None or size >= whole else size})

    seed_global_state(config["seed"])
    with watch.phase("fit"), monitor, progress_bar(*planned(config), note, monitor.status) as log_epoch:

        def show_clips(pictures: np.ndarray, names: list[str], seconds: float) -> None:
            curves.figure("training_clips", spectrogram_figure(pictures, names, seconds))

        micro_batch = run.identity["micro_batch"]
        work = Workspace(
            run.folder,
            log_epoch,
            resume,
            show_clips if config["logger"]["tensorboard"] else None,
            micro_batch,
            note_micro_batch,
        )
        classifier.fit(data, work)
    run.check_lock()
    log.info("fitted: %s", classifier.fit_summary or "nothing to tell")
    run.save_model(classifier)
    run.save_tracks(data.tracks)
    figures = {}
    with watch.phase("score"):
        for split in config["evaluate"]:
            if data.size(split):
                figures[f"confusion_matrix/{split}"] = score_split(run, classifier, data, split)
                log.info("%s: %s", split, {name: run.metrics[split][name] for name in FINAL})
            else:
                data.notes.append(f"{split} was asked for, but this copy of the data has no {split} tracks: not scored")
                log.warning(data.notes[-1])
    learned = curves_figure(
        curves.rows, classifier.fit_summary.get("best_epoch", classifier.fit_summary.get("best_round"))
    )
    if learned is not None:
        save_figure(learned, run.folder / "figures" / "learning_curves.png")
    shown = {**hyperparameters(config), "leaky": data.protocol.leaky}  # in TensorBoard beside every figure too
    curves.finish(shown, final_results(run.metrics), figures)
    notes = {
        "tracks": {s: data.size(s) for s in SPLITS},
        "dropped": data.dropped,
        "notes": data.notes,
        "model": classifier.fit_summary,
        "features": len(classifier.meta.columns) or None,
        "profile": profile.told(),
        "monitor": monitor.summary(),
        "pretrained": pretrained(config),
    }
    run.write("provenance.json", provenance(watch.seconds, notes))


def pretrained(config: dict[str, Any]) -> dict[str, str]:
    """Where pretrained weights came from: for `features` and `model` the file and its SHA-256, or `random`."""
    signed = scientific(config)
    found = {}
    for section in ("features", "model"):
        named = config.get(section, {}).get("checkpoint")
        if named is not None:
            found[section] = (
                str(named) if weights_file(config, section) is None else f"{named} {signed[section]['checkpoint']}"
            )
    return found


def seed_global_state(seed: int) -> None:
    """Seed Python's and NumPy's global random states, from which models of one's own may draw."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


def planned(config: dict[str, Any]) -> tuple[int | None, str]:
    """How many epochs or rounds a fit may take, and what they are called."""
    if is_estimator(config):
        return config["model"].get("n_estimators"), "round"
    return config["trainer"]["max_epochs"], "epoch"


def score_missing(run: Run, data: TrackData, config: dict[str, Any]) -> None:
    """Score a finished run on the splits that were asked for and that it has no score of yet."""
    missing = [split for split in config["evaluate"] if split not in run.metrics and data.size(split)]
    if missing:
        classifier = run.classifier(trust=(str(config["model"]["_target_"]).rpartition(".")[0],))
        for split in missing:
            score_split(run, classifier, data, split)
