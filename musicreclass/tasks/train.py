"""The train task, stage by stage: plan, claim, fit, score, record."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from musicreclass.classifiers.base import LogEpoch
from musicreclass.classifiers.training_ranges import training_ranges
from musicreclass.config.settings.data import SPLITS
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.data.leaks import NEAR_AUDIO
from musicreclass.data.table import TableData
from musicreclass.errors import RunError
from musicreclass.hardware.launch import is_worker_rank, processes
from musicreclass.hardware.monitor import Monitor
from musicreclass.report.diagnosis import report_diagnosis
from musicreclass.report.figures import curves_figure, save_for_print
from musicreclass.report.history import Curves
from musicreclass.report.model_card import write_model_card
from musicreclass.report.summary import final_results, final_scores, hyperparameters
from musicreclass.report.trackers import Trackers
from musicreclass.runs.files import COST
from musicreclass.runs.provenance import provenance
from musicreclass.runs.signature import located, section_of, signed_settings
from musicreclass.storage.atomic import remove
from musicreclass.tasks.find_or_train import FinishedRun
from musicreclass.tasks.fit import fit
from musicreclass.tasks.machine import check_launcher, use_machine, warn
from musicreclass.tasks.plan import RunPlan, changes_since_begun, holds_run, launch_of, make_plan
from musicreclass.tasks.score import protocol_of, score_split
from musicreclass.tasks.worker import train_as_worker

log = logging.getLogger("musicreclass")


def train(settings: TrainSettings, on_epoch: LogEpoch | None = None) -> FinishedRun:
    """Fit the configured model on the configured data, score it, and write a run folder.

    Args:
        settings: checked.
        on_epoch: called after each epoch (of a resumed run also for the epochs it has); what it raises ends the run.

    Returns:
        The run; it is not trained again if its folder holds it, finished.

    Raises:
        UserError: for data or a model that cannot be used; nothing was written.
        RunFailedError: for an error during training or scoring; run.log in the run folder holds the traceback.
    """
    settings, profile = use_machine(settings)
    check_launcher(profile)
    plan = make_plan(settings, profile)
    if is_worker_rank(settings.hardware):
        train_as_worker(plan)
        return FinishedRun(plan.run, trained_before=False)
    with plan.run.claimed(settings.if_locked):
        exists = holds_run(plan)
        if exists and plan.run.state == "done":
            score_missing(plan)
            record_verification(plan)
            return FinishedRun(plan.run, trained_before=True)
        resume = begin(plan, exists)
        with plan.run.session(), noting_cost(plan):
            run_session(plan, resume, on_epoch)
        remove(plan.run.folder / COST)  # which provenance.json contains now
    return FinishedRun(plan.run, trained_before=False)


def begin(plan: RunPlan, resume: bool) -> bool:
    """Write what is known before training; returns whether the interrupted run is resumed rather than started over."""
    run, identity = plan.run, plan.identity
    warn(list(filter(None, [plan.data.incomplete])))
    if resume and (changes := changes_since_begun(plan)):
        begun = {name: getattr(run.identity, name) for name in ("code", "micro_batch", "processes")}
        message = f"{', '.join(changes)} changed since the run was begun; it starts over"
        log.warning("begun with %s: %s", begun, message)
        warn([f"{run.folder}: {message}"])
        resume = False
    if resume:
        identity = replace(
            identity,
            micro_batch=run.identity.micro_batch,  # as measured or lowered
            libraries=run.identity.libraries,  # that it was begun with; an older version of this package may not have noted them
            checkpoint_libraries=run.identity.checkpoint_libraries,
        )
        if run.has_checkpoint:
            plan.stopwatch.add(run.cost)
    if processes(plan.settings.hardware) > 1:
        identity = replace(identity, launch=launch_of(plan, resume))
    run.begin(located(plan.settings), identity, resume)
    return resume


@contextmanager
def noting_cost(plan: RunPlan) -> Iterator[None]:
    """Note the time and memory of a session that ends with an error, for the session that resumes from its checkpoint."""
    try:
        yield
    except BaseException:
        if plan.run.has_checkpoint:
            with suppress(OSError, RunError):  # a full disk, or a lock that was lost
                plan.run.write(COST, plan.stopwatch.cost())
        raise


def run_session(plan: RunPlan, resume: bool, on_epoch: LogEpoch | None) -> None:
    """Fit, save, score and record, inside the run's session."""
    for line in plan.profile.why:
        log.info("hardware: %s", line)
    if plan.auto:
        log.info("auto: %s", plan.auto)
    for line in plan.profile.warnings:
        log.warning(line)
    note_random_weights(plan)
    protocol = plan.data.protocol
    for line in (*protocol.why, *protocol.cautions.values(), *plan.data.notes):
        log.info("data: %s", line)
    for path, reason in plan.data.bad_files.items():
        log.info("bad file: %s: %s", path, reason)
    plan.run.save_bad_files(plan.data.bad_files)
    curves = Curves(plan.run.folder, plan.settings.logger.tensorboard, resume)
    with Trackers(
        plan.settings.logger, plan.run.folder, tracked_settings(plan), curves.rows, resume
    ) as curves.trackers:
        fit_and_score(plan, curves, resume, on_epoch)


def fit_and_score(plan: RunPlan, curves: Curves, resume: bool, on_epoch: LogEpoch | None) -> None:
    """Fit the classifier, save it, score it, and record the rest."""
    monitor = fit(plan, curves, resume, on_epoch)
    plan.run.check_lock()
    log.info("fitted: %s", plan.classifier.fit_summary or "no summary")
    if isinstance(plan.data, TableData):
        plan.classifier.card.ranges = training_ranges(plan.data.arrays("train")[1])
    with plan.stopwatch.phase("novelty"):
        plan.classifier.fit_novelty(plan.data)
    plan.run.save_model(plan.classifier)
    plan.run.save_tracks(plan.data.tracks)
    if isinstance(plan.data, TableData) and plan.data.sketches is not None:
        plan.run.save_sketches(plan.data.sketches.of_tracks((plan.data.tracks.split != "test").to_numpy()))
    with plan.stopwatch.phase("score"):
        images = score(plan)
    record(plan, curves, monitor, images)


def score(plan: RunPlan) -> dict[str, np.ndarray]:
    """Score the splits of `evaluate`; returns the pixels of their confusion matrices by name."""
    images: dict[str, np.ndarray] = {}
    for split in sorted(plan.settings.evaluate, key="valid".__ne__):  # which gives the thresholds of tags
        if plan.data.size(split):
            pixels = score_split(plan.run, plan.classifier, plan.data, split, outputs_of(plan))
            images[f"{'tags' if plan.data.is_multi else 'confusion_matrix'}/{split}"] = pixels
            log.info("%s: %s", split, final_scores(plan.run.metrics[split]))
        else:
            plan.data.notes.append(f"{split} was not scored: this copy of the data has no {split} tracks")
            log.warning(plan.data.notes[-1])
    return images


def record(plan: RunPlan, curves: Curves, monitor: Monitor, images: dict[str, np.ndarray]) -> None:
    """Write the learning curves, the summary for trackers, and provenance.json."""
    run, data, summary = plan.run, plan.data, plan.classifier.fit_summary
    smoothing = 0.0 if plan.settings.model.is_estimator else plan.settings.trainer.label_smoothing
    figure = curves_figure(curves.rows, summary.get("best_epoch", summary.get("best_round")), smoothing)
    if figure is not None:
        save_for_print(figure, run.folder / "figures" / "learning_curves.png")
    warn(report_diagnosis(summary, run.folder))
    curves.finish(tracked_settings(plan), final_results(run.metrics), images)
    notes = {
        "tracks": {split: data.size(split) for split in SPLITS},
        "dropped": data.dropped,
        "notes": data.notes,
        "model": summary,
        "auto": plan.auto,
        "features": len(plan.classifier.card.columns) or None,
        "profile": plan.profile.as_dict(),
        "monitor": monitor.summary(),
        "pretrained": pretrained(plan),
        "novelty": None if plan.classifier.novelty is None else plan.classifier.novelty.as_dict(),
    }
    run.write("provenance.json", provenance(plan.stopwatch, notes))
    write_model_card(run)


def tracked_settings(plan: RunPlan) -> dict[str, object]:
    """The hyperparameters for TensorBoard and other trackers, with whether the split leaks."""
    return {**hyperparameters(plan.settings), "leaky": plan.data.protocol.leaky}


def score_missing(plan: RunPlan) -> None:
    """Score a finished run on those splits of `evaluate` that it was not scored on yet."""
    splits = sorted(plan.settings.evaluate, key="valid".__ne__)
    missing = [split for split in splits if split not in plan.run.metrics and plan.data.size(split)]
    if missing:
        classifier = plan.run.classifier(trust=(str(plan.settings.model.target).rpartition(".")[0],))
        for split in missing:
            score_split(plan.run, classifier, plan.data, split, outputs_of(plan))
        write_model_card(plan.run)


def record_verification(plan: RunPlan) -> None:
    """Update the protocol of a finished run if its recordings were verified since."""
    protocol = protocol_of(plan.run, plan.data)
    if NEAR_AUDIO in protocol["checked"] and protocol != plan.run.metrics.get("protocol"):
        plan.run.write("metrics.json", {**plan.run.metrics, "protocol": protocol})
        write_model_card(plan.run)


def outputs_of(plan: RunPlan) -> Path:
    """The folder of the score log, also of runs that `run_dir` puts elsewhere."""
    return Path(plan.settings.paths.outputs).expanduser()


def pretrained(plan: RunPlan) -> dict[str, str]:
    """The source of pretrained weights: for `features` and `model` the file with its SHA-256, or the name."""
    signed, sources = signed_settings(plan.settings), {}
    for name, section in plan.settings.weighted().items():
        weights = section.checkpoint
        if weights is not None:
            digest = f" {section_of(signed, name)['checkpoint']}" if section.weights_files() else ""
            sources[name] = f"{weights}{digest}"
    return sources


def note_random_weights(plan: RunPlan) -> None:
    """Say where the summary and the record will show it that an encoder was not pretrained."""
    for name, section in plan.settings.weighted().items():
        if section.checkpoint == "random":
            plan.data.notes.append(
                f"{name}.checkpoint=random: the encoder is untrained, no pretrained weights were used"
            )
