"""What all processes of a launch but the first do: train the same network, and write nothing."""

from __future__ import annotations

import logging
import time

from musicreclass.classifiers.base import Workspace
from musicreclass.errors import RunError
from musicreclass.hardware.launch import launch_id
from musicreclass.storage.locks import Lock
from musicreclass.tasks.plan import RunPlan, seed_global_state

PATIENCE = 300  # seconds without a process that holds the run's lock
PAUSE = 0.2  # seconds between two looks
log = logging.getLogger("musicreclass")


def train_as_worker(plan: RunPlan) -> None:
    """Wait until the first process of this launch has begun the run, then train with it.

    Raises:
        RunError: if it does not begin.
    """
    log.addHandler(logging.NullHandler())  # otherwise each process would print each warning
    run, settings = plan.run, plan.settings
    lock, since = Lock(run.folder / ".lock"), time.monotonic()
    while True:
        if run.state == "done" and not settings.force:  # nothing is trained
            return
        holder, launch = lock.holder(), run.identity.launch
        if holder is not None:
            if launch is not None and (launch.id, launch.lock) == (launch_id(), holder.get("token")):
                break
            since = time.monotonic()
        if time.monotonic() - since > PATIENCE:
            cause = "it may have failed, or the machines do not share the folder"
            line = f"{run.folder}: the first process of this launch has not begun in {PATIENCE} s: {cause}"
            raise RunError(line, "no_first_process", run.folder)
        time.sleep(PAUSE)
    seed_global_state(settings.seed)
    workspace = Workspace(
        folder=run.folder,
        log_epoch=lambda epoch, values: None,
        resume=launch.resume,
        micro_batch=run.identity.micro_batch,
    )
    plan.classifier.fit(plan.data, workspace)
