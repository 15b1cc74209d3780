"""How many tracks of a model fit through a training step at once on this machine, measured without data."""

from __future__ import annotations

import math

import torch

from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.classifiers.network_builder import make_augmentation, make_network
from musicreclass.config.auto import Sizes, resolve_auto
from musicreclass.config.check import train_settings
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.config.tree import Tree
from musicreclass.data.sampling import Batch
from musicreclass.errors import ConfigError, Problem
from musicreclass.hardware.profile import Profile, gib
from musicreclass.plurals import counted
from musicreclass.tasks.machine import use_machine
from musicreclass.training.callbacks import measure_micro_batch
from musicreclass.training.module import GenreModule, TrainingPlan

FEATURES, CLASSES = 518, 10  # of a synthetic table
LARGE_TABLE = Sizes(20_000, FEATURES, CLASSES, 100)  # for settings that depend on the data
LIMIT = 4096  # tracks to try on a GPU; on a CPU, which gains nothing from more, a batch


def checked_settings(model: str, overrides: list[str]) -> TrainSettings:
    """The settings of a network, on demo data unless the overrides choose other data.

    Raises:
        ConfigError: for an invalid model or override, or a model that is no network.
    """
    arguments = [f"model={model}", *overrides]
    if not any(argument.startswith("data=") for argument in overrides):
        reads_audio = model in Tree().options_with("model", "input", "waveform")
        arguments.append("data=demo_audio" if reads_audio else "data=demo")
    settings = train_settings(arguments)
    if settings.model.is_estimator:
        line = f"model={model}: an estimator is fitted on all tracks at once; there is no batch size to choose"
        raise ConfigError([Problem(line, "no_network", "model", model)])
    return settings


def try_model(name: str, settings: TrainSettings) -> str:
    """Measure a training step over synthetic tracks.

    Args:
        name: of the model, for the message.
        settings: as `checked_settings` returns them.

    Returns:
        the memory that a step takes, and which batch size or micro-batch fits, in two lines.
    """
    settings, profile = use_machine(settings)
    module, batch = synthetic(settings, profile)
    batch_size = len(batch[0])
    limit = max(LIMIT, batch_size) if profile.device.type == "cuda" else batch_size
    result = measure_micro_batch(module, batch, profile, limit)
    reads = f"a table of {FEATURES} features"
    if settings.model.input == "waveform":
        reads = f"clips of {settings.data.clip_seconds:g} s at {settings.data.sample_rate} Hz"
    per_track = f"{result.per_track / 2**10:.0f} KiB"
    if result.per_track >= 2**20:
        per_track = f"{result.per_track / 2**20:.1f} MiB"
    memory = (
        f"{name}, {reads}, {profile.precision}, on {profile.device.type}: {gib(result.fixed)} and {per_track} per track;"
        f" {gib(result.budget)} may be used ({100 * profile.memory_margin:.0f} % of the free memory stays free)"
    )
    fit = f"{'at least ' if result.size >= limit else ''}{counted(result.size, 'track')} fit at once"
    fit += "" if result.verified else " (estimated, not verified)"
    remedy = f"hardware.micro_batch={result.size}, or auto, for trainer.batch_size={batch_size}"
    if result.size >= batch_size:
        remedy = f"trainer.batch_size={batch_size} fits without micro-batches"
    return f"{memory}\n{fit}: {remedy}"


def synthetic(settings: TrainSettings, profile: Profile) -> tuple[GenreModule, Batch]:
    """A module as it would be trained, and a batch of silence or zeros, on the profile's device."""
    settings = resolve_auto(settings, LARGE_TABLE)
    model, data, batch_size, device = settings.model, settings.data, settings.trainer.tracks_per_step, profile.device
    reads_audio = model.input == "waveform"
    classes, columns = ([str(k) for k in range(n)] for n in (CLASSES, FEATURES))
    card = ModelCard("network", str(model.target), model.arguments(*model.about), model.input, classes, columns)
    if reads_audio:
        card.sample_rate, card.clip_seconds = data.sample_rate, data.clip_seconds
        card.frontend = None if model.frontend is None else model.frontend.as_dict()
    front, network = make_network(card)
    if profile.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    samples = round(card.clip_seconds * card.sample_rate)
    plan = TrainingPlan(settings.optimizer, settings.scheduler, batch_size, 1, 0, clip_samples=samples)
    augment = make_augmentation(settings.augmentation) if reads_audio else None
    module = GenreModule(network, CLASSES, plan, lambda *_: None, front if reads_audio else None, augment)
    module.to(device).train()
    x = torch.zeros(batch_size, FEATURES, device=device)
    if augment is not None:
        x = torch.zeros(batch_size, math.ceil(samples * augment.crop_factor), dtype=torch.int16, device=device)
    return module, (x, torch.arange(batch_size, device=device) % CLASSES, torch.arange(batch_size))
