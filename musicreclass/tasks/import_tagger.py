"""musicnn's taggers as runs with several labels a track: their tags are the classes, and their probabilities the predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.classifiers.network import NetworkClassifier
from musicreclass.config.check import compose, train_settings
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.features.opening import create_parts
from musicreclass.features.parts import joint_fingerprint
from musicreclass.models.weights.musicnn import read_weights, weights_path
from musicreclass.models.weights.musicnn_wheel import CHECKPOINTS
from musicreclass.tasks.machine import use_machine
from musicreclass.tasks.open_data import code_of

TARGET = "musicreclass.models.tag_logits.TagLogits"
# The threshold with the highest F1 is half of that F1 where probabilities are calibrated (Lipton, Elkan and Naryanaswamy, "Optimal
# thresholding of classifiers to maximize F1 measure", ECML 2014). Taggers reach about 0.4; from 0.5, most tracks would have no tag.
THRESHOLD = 0.2


def find_tagger(file: Path) -> Path | None:
    """The installed weights of a tagger: the file itself, or those of a name such as `MTT_musicnn`; None for any other file."""
    if file.name in CHECKPOINTS and not file.exists():
        models = str(compose("prepare", ["features=musicnn", "data=demo_audio"]).features.folder)
        return weights_path(Path(models).expanduser(), file.name)
    return file if file.suffix == ".safetensors" and file.stem in CHECKPOINTS else None


def tagger_settings(path: Path, unknown_root: str) -> TrainSettings:
    """The settings that a tagger's run would have if it were trained on recordings below a folder.

    The features are the mean tag probabilities over a recording's patches, in full precision.

    Raises:
        WeightsError: if the weights are missing or damaged.
    """
    read_weights(path.parent, path.stem)
    features = [
        "features=musicnn",
        f"features.checkpoint={path.stem}",
        "features.layer=tags",
        f'features.folder="{path.parent.resolve()}"',
        "features.precision=32-true",
    ]
    settings = train_settings(["data=folder", f"data.root={unknown_root}", "model=mlp", *features])
    assert isinstance(settings, TrainSettings)
    return settings


def tagger_config(settings: TrainSettings) -> dict[str, Any]:
    """The configuration of the run of a tagger, complete."""
    config = settings.as_dict()
    config["model"] = {"_target_": TARGET, "input": "table", "scale": False}
    config["choices"]["model"] = "tag_logits"
    return config


def encoder_of(settings: TrainSettings) -> str:
    """The fingerprint of a tagger as an encoder."""
    settings, profile = use_machine(settings)
    return joint_fingerprint(create_parts(settings.features, profile, code_of))


def tagger_tags(path: Path) -> list[str]:
    """The tags of a tagger, in the order of its outputs."""
    return list(read_weights(path.parent, path.stem)[1]["tags"])


def tagger_classifier(path: Path) -> NetworkClassifier:
    """The classifier of a tagger's run, which returns the features that it reads."""
    tags = tagger_tags(path)
    ranges: dict[str, list[Any]] = {"low": [0.0] * len(tags), "high": [1.0] * len(tags), "varies": [True] * len(tags)}
    card = ModelCard("network", TARGET, {}, "table", tags, [*tags], scale=False, ranges=ranges, is_multi=True)
    classifier = NetworkClassifier(card)
    classifier.network.eval()
    return classifier


def tagger_reason(path: Path) -> str:
    """What is known about the scores of a tagger."""
    text = f"musicnn's {path.stem}, imported: no scores were measured here; a tag is given from {THRESHOLD:g}, which was not chosen on tracks"
    if path.stem.startswith("MTT"):
        text += (
            "; trained on MagnaTagATune's usual training split (folders 0 to b): only its usual test split is unseen"
        )
    return text
