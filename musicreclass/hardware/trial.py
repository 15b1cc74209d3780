"""How many tracks of a model fit into this machine at once, measured without any data."""

from __future__ import annotations

from typing import Any

import torch

from musicreclass.classifiers.base import Meta
from musicreclass.classifiers.network import make_augmentation, make_network
from musicreclass.hardware.callbacks import measured
from musicreclass.hardware.profile import Profile, gib
from musicreclass.models.module import GenreModule, TrainingPlan


def try_model(name: str, config: dict[str, Any], features: int, classes: int, most: int) -> str:
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
    node, trainer = config["model"], config["trainer"]
    about = ("_target_", "input", "scale", "sample_rate", "frontend")
    arguments = {key: value for key, value in node.items() if key not in about}
    meta = Meta(
        "network",
        node["_target_"],
        arguments,
        node["input"],
        [str(k) for k in range(classes)],
        [str(k) for k in range(features)],
    )
    hears = meta.input == "waveform"
    if hears:
        meta.sample_rate, meta.frontend = config["data"]["sample_rate"], node.get("frontend")
        meta.clip_seconds = config["data"]["clip_seconds"]
    front, network = make_network(meta)
    samples = round(meta.clip_seconds * meta.sample_rate)
    plan = TrainingPlan(config["optimizer"], config["scheduler"], trainer["batch_size"], 1, 0, clip_samples=samples)
    augment = make_augmentation(config["augmentation"]) if hears else None
    module = GenreModule(network, classes, plan, lambda *_: None, front if hears else None, augment)
    module.to(profile.device).train()
    if profile.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    n = trainer["batch_size"]
    longer = 1.0 if augment is None else augment.longest
    shape = (n, int(-(-samples * longer // 1))) if hears else (n, features)
    x = torch.zeros(shape, dtype=torch.int16 if hears else torch.float32, device=profile.device)
    batch = (x, torch.arange(n, device=profile.device) % classes, torch.arange(n))
    most = max(most, n) if profile.device.type == "cuda" else n
    found = measured(module, batch, profile, most)
    what = f"clips of {meta.clip_seconds:g} s at {meta.sample_rate} Hz" if hears else f"a table of {features} features"
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
