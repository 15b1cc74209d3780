"""What a training run will be, before anything is written: its data, its classifier, its folder and its identity."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicreclass.classifiers.base import Classifier
from musicreclass.classifiers.factory import build_classifier, check_model, sizes_of
from musicreclass.config.auto import auto_values, resolve_auto
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.data.track_data import TrackData
from musicreclass.errors import RunError
from musicreclass.features.feature_data import FeatureData
from musicreclass.hardware.launch import launch_id, processes
from musicreclass.hardware.profile import Profile
from musicreclass.report.trackers import check_trackers
from musicreclass.runs.code_version import CHECKPOINT_LIBRARIES, code_version, library_versions, user_code, versions_of
from musicreclass.runs.folder import Run
from musicreclass.runs.identity import Identity, Launch
from musicreclass.runs.provenance import Stopwatch
from musicreclass.runs.signature import remember_data, run_folder, signature
from musicreclass.storage.store import rereading
from musicreclass.tasks.open_data import open_data
from musicreclass.version import __version__


@dataclass
class RunPlan:
    """A run that has not started.

    Attributes:
        settings: with the precision that the machine allows, and no `auto` that depends on the data.
        auto: the values that replaced `auto`, by dotted key.
        profile: how the machine is used.
        data: set up.
        classifier: not fitted.
        run: the folder, which need not exist.
        identity: what identity.json will hold.
        stopwatch: the seconds of each phase so far.
    """

    settings: TrainSettings
    auto: dict[str, Any]
    profile: Profile
    data: TrackData
    classifier: Classifier
    run: Run
    identity: Identity
    stopwatch: Stopwatch


def make_plan(settings: TrainSettings, profile: Profile) -> RunPlan:
    """Open the data, create the classifier, and work out the run's identity.

    Args:
        settings: with the precision that the machine allows.
        profile: how the machine is used.

    Raises:
        UserError: for data or a model that cannot be used.
    """
    stopwatch = Stopwatch()
    check_model(settings, profile.threads)
    check_trackers(settings.logger)
    opened = time.time()
    with stopwatch.phase("data"), rereading(settings.force):
        data = open_data(settings, profile)
        fingerprint, sizes = data.fingerprint(), sizes_of(data)
        remember_data(settings, data.files(), fingerprint, sizes, opened)
        auto = auto_values(settings, sizes)
        settings = resolve_auto(settings, sizes)
        signed = signature(settings, fingerprint)
    seed_global_state(settings.seed)  # a user's network may draw its weights from it
    classifier = build_classifier(settings, profile, data)
    micro_batch = None if settings.model.is_estimator else profile.micro_batch
    identity = Identity(
        signature=signed,
        fingerprint=fingerprint,
        version=__version__,
        code=code_version(settings.as_dict()),
        user_code=user_code(settings.as_dict()),
        libraries=library_versions(settings.as_dict()),
        checkpoint_libraries=versions_of(CHECKPOINT_LIBRARIES[settings.model.is_estimator]),
        choices=settings.choices,
        source=data.source(),
        encoder=data.encoder_fingerprint if isinstance(data, FeatureData) else None,
        micro_batch=micro_batch,
        micro_batch_setting=micro_batch,
        processes=processes(settings.hardware),
    )
    run = Run(run_folder(settings, fingerprint))
    return RunPlan(settings, auto, profile, data, classifier, run, identity, stopwatch)


def holds_run(plan: RunPlan) -> bool:
    """Whether the run folder holds a run of these settings, finished or not, that `force` does not replace.

    Raises:
        RunError: if it holds another run.
    """
    existing, signed = plan.run.identity.signature, plan.identity.signature
    if plan.settings.force or (existing is None and plan.run.state != "done"):
        return False
    if existing != signed:
        line = f"run_dir={plan.run.folder}: holds another run ({existing or 'without a signature'}); name another folder, or force=true replaces it"
        raise RunError(line, "another_run", "run_dir", str(plan.run.folder))
    return True


def changes_since_begun(plan: RunPlan) -> list[str]:
    """Why an interrupted run cannot be resumed exactly: what differs from when it was begun. Empty if it can be."""
    begun, current = plan.run.identity, plan.identity
    changes = []
    if (begun.code, begun.user_code) != (current.code, current.user_code):
        changes.append("the code")
    recorded = {**begun.libraries, **begun.checkpoint_libraries}
    versions = {**current.libraries, **current.checkpoint_libraries}
    for name, version in recorded.items():
        if versions.get(name, version) != version:
            changes.append(f"{name} ({version}, now {versions[name]})")
    micro_batch = current.micro_batch_setting
    if micro_batch not in ("auto", begun.micro_batch, begun.micro_batch_setting):  # `auto` may still change
        changes.append("the micro-batch")
    if begun.processes != current.processes:
        changes.append("the number of processes")
    return changes


def launch_of(plan: RunPlan, resume: bool) -> Launch:
    """What the other processes of a launch recognise the run by."""
    assert plan.run.lock is not None
    return Launch(launch_id(), str(plan.run.lock.owner["token"]), resume)


def seed_global_state(seed: int) -> None:
    """Seed Python's and NumPy's global random states, which users' own models may draw from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
