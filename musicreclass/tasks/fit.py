"""The fit stage of training: the classifier, with its progress, its curves and the sensors of the machine."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from musicreclass.classifiers.base import LogEpoch, Workspace
from musicreclass.hardware.monitor import Monitor
from musicreclass.report.figures import spectrogram_figure
from musicreclass.report.history import Curves
from musicreclass.report.progress import progress_bar
from musicreclass.runs.files import COST
from musicreclass.tasks.plan import RunPlan, seed_global_state

COST_INTERVAL = 1.0  # seconds between two notes of the time so far; an epoch may take milliseconds


def fit(plan: RunPlan, curves: Curves, resume: bool, on_epoch: LogEpoch | None = None) -> Monitor:
    """Fit the classifier in its run folder.

    Args:
        plan: of a run that was begun.
        curves: takes the values of each epoch or round.
        resume: whether to continue from the checkpoints in the folder.
        on_epoch: called after each epoch (of a resumed run also for the epochs it has); what it raises ends the run.

    Returns:
        the monitor that read the sensors meanwhile.
    """
    run, settings, profile = plan.run, plan.settings, plan.profile
    monitor = Monitor(profile.monitor_interval, run.folder, 0 if profile.accelerator == "cuda" else None)
    reports = FitReports(plan, curves, monitor, on_epoch)
    reports.repeat_epochs()
    seed_global_state(settings.seed)
    total, unit = planned(plan)
    with (
        plan.stopwatch.phase("fit"),
        monitor,
        progress_bar(total, unit, reports.log_epoch, monitor.status) as log_and_show,
    ):
        workspace = Workspace(
            folder=run.folder,
            log_epoch=log_and_show,
            resume=resume,
            show_clips=reports.show_clips if settings.logger.tensorboard else None,
            micro_batch=run.identity.micro_batch,
            note_micro_batch=reports.note_micro_batch,
        )
        plan.classifier.fit(plan.data, workspace)
    return monitor


class FitReports:
    """Writes what a fit reports to the run folder.

    Args:
        plan, curves, on_epoch: as in `fit`.
        monitor: its readings join the values of each epoch.
    """

    def __init__(self, plan: RunPlan, curves: Curves, monitor: Monitor, on_epoch: LogEpoch | None) -> None:
        self.run, self.trainer = plan.run, plan.settings.trainer
        self.curves, self.monitor, self.on_epoch = curves, monitor, on_epoch
        self.stopwatch, self.cost_noted = plan.stopwatch, -math.inf

    def repeat_epochs(self) -> None:
        """Pass on the epochs that a resumed run already has."""
        if self.on_epoch is not None:
            for row in self.curves.rows:
                self.on_epoch(int(row["epoch"]), row)

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        """Write the values of an epoch to the curves, and the time so far to cost.json."""
        self.run.check_lock()
        if time.monotonic() - self.cost_noted >= COST_INTERVAL:
            self.run.write(COST, self.stopwatch.cost())
            self.cost_noted = time.monotonic()
        self.curves.log(epoch, {**values, **self.monitor.epoch()})
        if self.on_epoch is not None:
            self.on_epoch(epoch, values)

    def note_micro_batch(self, size: int | None) -> None:
        """Write the tracks per forward pass to identity.json; None if they are the whole batch."""
        self.run.check_lock()
        micro_batch = None if size is None or size >= self.trainer.tracks_per_step else size
        self.run.write_identity(replace(self.run.identity, micro_batch=micro_batch))

    def show_clips(self, spectrograms: np.ndarray, names: list[str], seconds_per_frame: float) -> None:
        """Add a figure of training clips to the curves."""
        self.curves.figure("training_clips", spectrogram_figure(spectrograms, names, seconds_per_frame))


def planned(plan: RunPlan) -> tuple[int | None, str]:
    """How many epochs or rounds a fit may take, and what they are called."""
    if plan.settings.model.is_estimator:
        return plan.settings.model.arguments().get("n_estimators"), "round"
    return plan.settings.trainer.max_epochs, "epoch"
