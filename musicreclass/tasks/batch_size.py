"""How many tracks of a model fit into this machine at once, measured without any data."""

from __future__ import annotations

import math
from typing import Any

import torch
from omegaconf import OmegaConf

from musicreclass.classifiers.base import ModelCard
from musicreclass.classifiers.factory import ABOUT
from musicreclass.classifiers.network_builder import make_augmentation, make_network
from musicreclass.config.check import Check
from musicreclass.config.science import is_estimator
from musicreclass.config.tree import Tree, with_choices
from musicreclass.data.sampling import Batch
from musicreclass.errors import ConfigError
from musicreclass.hardware.profile import Profile, gib
from musicreclass.training.callbacks import measure_micro_batch
from musicreclass.training.module import GenreModule, TrainingPlan

FEATURES, CLASSES = 518, 10  # of a made-up table
MOST = 4096  # tracks at once that are tried on a GPU; on a CPU, which gains nothing by more, the batch


def try_model(
    name: str, config: dict[str, Any], features: int = FEATURES, classes: int = CLASSES, most: int = MOST
) -> str:
    """Measure a training step over made-up tracks.

    Args:
        name: of the model.
        config: a resolved configuration.
        features: of a made-up table.
        classes: of the made-up tracks.
        most: tracks at once on a GPU; on a CPU not more than a batch are tried.

    Returns:
        what came of it, and what to set.
    """
    profile = Profile.of(config["hardware"], config["trainer"]["precision"])
    profile.apply()
    module, batch = made_up(config, profile, features, classes)
    n = config["trainer"]["batch_size"]
    most = max(most, n) if profile.device.type == "cuda" else n
    found = measure_micro_batch(module, batch, profile, most)
    what = f"a table of {features} features"
    if config["model"]["input"] == "waveform":
        what = f"clips of {config['data']['clip_seconds']:g} s at {config['data']['sample_rate']} Hz"
    per = f"{found.per_track / 2**20:.1f} MiB" if found.per_track >= 2**20 else f"{found.per_track / 2**10:.0f} KiB"
    lines = [
        f"{name}, {what}, {profile.precision}, on {profile.device.type}: {gib(found.fixed)} and {per} for each track;"
        f" {gib(found.budget)} may be used ({100 * profile.memory_margin:.0f} % of what is free stays free)",
        f"{'at least ' if found.size >= most else ''}{found.size} tracks fit at once{'' if found.verified else ' (reckoned, not run)'}: "
        + (
            f"trainer.batch_size={n} fits as a whole"
            if found.size >= n
            else f"hardware.micro_batch={found.size}, or auto, for trainer.batch_size={n}"
        ),
    ]
    return "\n".join(lines)


def made_up(config: dict[str, Any], profile: Profile, features: int, classes: int) -> tuple[GenreModule, Batch]:
    """A module as it would be trained, and a batch of silence or zeros, on the profile's device.

    Args:
        config: a resolved configuration.
        profile: where it would be trained.
        features: of a made-up table.
        classes: of the made-up tracks.
    """
    node, trainer, data = config["model"], config["trainer"], config["data"]
    arguments = {key: value for key, value in node.items() if key not in ABOUT}
    names = [str(k) for k in range(classes)]
    meta = ModelCard("network", node["_target_"], arguments, node["input"], names, [str(k) for k in range(features)])
    hears = meta.input == "waveform"
    if hears:
        meta.sample_rate, meta.clip_seconds, meta.frontend = (
            data["sample_rate"],
            data["clip_seconds"],
            node.get("frontend"),
        )
    front, network = make_network(meta)
    if profile.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    samples = round(meta.clip_seconds * meta.sample_rate)
    n, device = trainer["batch_size"], profile.device
    plan = TrainingPlan(config["optimizer"], config["scheduler"], n, 1, 0, clip_samples=samples)
    augment = make_augmentation(config["augmentation"]) if hears else None
    module = GenreModule(network, classes, plan, lambda *_: None, front if hears else None, augment)
    module.to(device).train()
    x = torch.zeros(n, features, device=device)
    if augment is not None:
        x = torch.zeros(n, math.ceil(samples * augment.longest), dtype=torch.int16, device=device)
    return module, (x, torch.arange(n, device=device) % classes, torch.arange(n))


def checked_config(model: str, overrides: list[str]) -> dict[str, Any]:
    """The resolved configuration of a network, on demo data unless the overrides choose other data.

    Raises:
        ConfigError: for a model or an override that cannot be, or a model that is no network.
    """
    tree = Tree()
    words = [f"model={model}", *overrides]
    if not any(word.startswith("data=") for word in overrides):
        reads = "waveform" if model in tree.options_reading("model", "input", "waveform") else "table"
        words.append("data=demo_audio" if reads == "waveform" else "data=demo")
    problems = Check(tree, "train", words, multirun=False).problems()
    if problems:
        raise ConfigError(problems)
    config: Any = OmegaConf.to_container(with_choices(tree.compose("train", words), {}), resolve=True)
    if is_estimator(config):
        raise ConfigError([f"model={model}: an estimator is fitted on all tracks at once; there is no batch to choose"])
    return dict(config)
