"""What a training run will be, before anything is written: its data, its classifier, its folder and its identity."""

from __future__ import annotations

import logging
import os
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from musicreclass.classifiers.base import Classifier
from musicreclass.classifiers.factory import build
from musicreclass.config.settings import TrainSettings
from musicreclass.data.tracks import TrackData
from musicreclass.errors import ConfigError, Problem, RunError
from musicreclass.features.embeddings import EmbeddedTracks
from musicreclass.hardware.launch import launch_id, launcher, processes
from musicreclass.hardware.profile import Profile
from musicreclass.runs.code_version import code_version, has_changed, user_code
from musicreclass.runs.folder import Run
from musicreclass.runs.provenance import Stopwatch
from musicreclass.runs.signature import remember_fingerprint, run_folder, signature
from musicreclass.tasks.open_data import open_data
from musicreclass.version import __version__

log = logging.getLogger("musicreclass")


@dataclass
class Plan:
    """A run that was not begun yet.

    Attributes:
        settings: with the precision that the machine allows.
        profile: how the machine is used.
        data: set up.
        classifier: not fitted.
        run: the folder, which need not exist.
        identity: what identity.json will hold.
        stopwatch: the seconds of each phase so far.
    """

    settings: TrainSettings
    profile: Profile
    data: TrackData
    classifier: Classifier
    run: Run
    identity: dict[str, Any]
    stopwatch: Stopwatch


def make_plan(settings: TrainSettings) -> Plan:
    """Open the data, create the classifier, and work out the run's identity.

    Raises:
        UserError: for data or a model that cannot be used.
    """
    stopwatch = Stopwatch()
    settings, profile = on_this_machine(settings)
    profile.apply()
    with stopwatch.phase("data"):
        data = open_data(settings, profile=profile)
        fingerprint = data.fingerprint()
    remember_fingerprint(settings, data.files(), fingerprint)
    seed_global_state(settings.seed)  # a user's own network may draw its weights from it
    classifier = build(settings, profile, data)
    micro_batch = None if settings.model.is_estimator else profile.micro_batch
    identity = {
        "signature": signature(settings, fingerprint),
        "fingerprint": fingerprint,
        "version": __version__,
        "code": code_version(settings.as_dict()),
        "user_code": user_code(settings.as_dict()),
        "choices": settings.choices,
        "source": data.source(),
        "encoder": data.encoder_fingerprint if isinstance(data, EmbeddedTracks) else None,
        "micro_batch": micro_batch,
        "micro_batch_setting": micro_batch,
        "processes": processes(settings.hardware),
    }
    return Plan(settings, profile, data, classifier, Run(run_folder(settings, fingerprint)), identity, stopwatch)


def on_this_machine(settings: TrainSettings) -> tuple[TrainSettings, Profile]:
    """The hardware profile, and the settings with the precision that it allows.

    Raises:
        ConfigError: for what was set explicitly and is not available.
    """
    explicit = settings.trainer.precision != "auto"
    precision = settings.trainer.precision if explicit else settings.hardware.precision
    if settings.model.is_estimator and settings.features.target is None:
        precision, explicit = "32-true", False  # nothing computes in it
    profile = Profile.of(settings.hardware, precision, named=explicit)
    if profile.nodes > 1 and not launcher() and "MASTER_ADDR" not in os.environ:
        line = f"hardware.nodes={profile.nodes}: no launcher has started the processes: use srun or torchrun"
        raise ConfigError([Problem(line, "no_launcher", "hardware.nodes", profile.nodes)])
    return settings.with_precision(profile.precision), profile


def holds_run(plan: Plan) -> bool:
    """Whether the run folder holds a run of these settings, finished or not, that `force` does not replace.

    Raises:
        RunError: if it holds another run.
    """
    existing, signed = plan.run.identity, plan.identity["signature"]
    if plan.settings.force or (existing.get("signature") is None and plan.run.state != "done"):
        return False
    if existing.get("signature") != signed:
        line = f"run_dir={plan.run.folder}: holds another run ({existing.get('signature', 'without a signature')}); name another folder, or force=true replaces it"
        raise RunError(line, "another_run", "run_dir", str(plan.run.folder))
    return True


def continues_exactly(plan: Plan) -> bool:
    """Whether an interrupted run was begun by the same code, processes and micro-batch (or one that may still change)."""
    begun, micro_batch = plan.run.identity, plan.identity["micro_batch_setting"]
    kept = micro_batch == "auto" or micro_batch in (begun.get("micro_batch"), begun.get("micro_batch_setting"))
    same_processes = begun.get("processes", 1) == plan.identity["processes"]
    same_code = begun.get("code") == plan.identity["code"] and not has_changed(begun.get("user_code", {}))
    return kept and same_processes and same_code


def launch_of(plan: Plan, resume: bool) -> dict[str, Any]:
    """What the other processes of a launch recognise the run by."""
    assert plan.run.lock is not None
    return {"id": launch_id(), "lock": plan.run.lock.owner["token"], "resume": resume}


def seed_global_state(seed: int) -> None:
    """Seed Python's and NumPy's global random states, which users' own models may draw from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
