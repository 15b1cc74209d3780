"""The fit stage of training: the classifier, with its progress, its curves and the sensors of the machine."""

from __future__ import annotations

import numpy as np

from musicreclass.classifiers.base import LogEpoch, Workspace
from musicreclass.hardware.monitor import Monitor
from musicreclass.report.figures import spectrogram_figure
from musicreclass.report.history import Curves
from musicreclass.report.progress import progress_bar
from musicreclass.tasks.plan import RunPlan, seed_global_state


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

    def log_epoch(epoch: int, values: dict[str, float]) -> None:
        run.check_lock()
        curves.log(epoch, {**values, **monitor.epoch()})
        if on_epoch is not None:
            on_epoch(epoch, values)

    def note_micro_batch(size: int | None) -> None:
        run.check_lock()
        whole = settings.trainer.batch_size
        run.write("identity.json", {**run.identity, "micro_batch": None if size is None or size >= whole else size})

    def show_clips(spectrograms: np.ndarray, names: list[str], seconds_per_frame: float) -> None:
        curves.figure("training_clips", spectrogram_figure(spectrograms, names, seconds_per_frame))

    if on_epoch is not None:
        for row in curves.rows:
            on_epoch(int(row["epoch"]), row)
    seed_global_state(settings.seed)
    total, unit = planned(plan)
    with plan.stopwatch.phase("fit"), monitor, progress_bar(total, unit, log_epoch, monitor.status) as log_and_show:
        workspace = Workspace(
            folder=run.folder,
            log_epoch=log_and_show,
            resume=resume,
            show_clips=show_clips if settings.logger.tensorboard else None,
            micro_batch=run.identity["micro_batch"],
            note_micro_batch=note_micro_batch,
        )
        plan.classifier.fit(plan.data, workspace)
    return monitor


def planned(plan: RunPlan) -> tuple[int | None, str]:
    """How many epochs or rounds a fit may take, and what they are called."""
    if plan.settings.model.is_estimator:
        return plan.settings.model.arguments().get("n_estimators"), "round"
    return plan.settings.trainer.max_epochs, "epoch"
