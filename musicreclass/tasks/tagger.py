"""Opens a tagger of conf/tagger/, which labels recordings without training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from musicreclass.config.check import compose, settings_of
from musicreclass.config.tree import TAGGERS, Tree
from musicreclass.errors import ConfigError, Problem
from musicreclass.features.embeddings import EncoderPart
from musicreclass.features.opening import create_part
from musicreclass.hardware.machine import cores
from musicreclass.prediction.file_classifier import FileClassifier
from musicreclass.prediction.file_model import FileModel
from musicreclass.prediction.labels import Decision
from musicreclass.prediction.readers import Embedder, Reader, WaveformReader
from musicreclass.prediction.tags import TagClassifier
from musicreclass.storage.store import Store
from musicreclass.tasks.machine import for_one_process, use_machine
from musicreclass.tasks.open_data import code_of


class Tagger(BaseModel):
    """The content of conf/tagger/NAME.yaml.

    Attributes:
        taggers: the overrides that choose the encoder of each.
        genres: the tags of each genre, as TAGGER/TAG.
        floor: the probability that the most probable tag must have.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    taggers: dict[str, list[str]] = Field(min_length=1)
    genres: dict[str, list[str]] = Field(min_length=2)
    floor: float = Field(ge=0, le=1)


def tagger_names(config_dir: str | None = None) -> list[str]:
    """The taggers that can be named in place of a run."""
    return Tree(config_dir).names(TAGGERS)


def open_tagger(
    name: str, top_k: int = 3, overrides: Sequence[str] = (), config_dir: str | None = None
) -> FileClassifier:
    """Open a tagger to label recordings.

    Args:
        name: of conf/tagger/NAME.yaml.
        top_k: classes that a label lists.
        overrides: of all its encoders, as `features.folder=DIR` or `paths.cache=DIR`.
        config_dir: your own configuration folder.

    Raises:
        ConfigError: if the file is invalid, or names tags that do not exist.
        WeightsError: if the weights are missing.
    """
    tagger, file = read_tagger(name, config_dir)
    columns: list[str] = []
    readers: list[Reader] = []
    embedders: dict[str, Embedder] = {}
    overlaps: list[dict[str, str]] = []
    for source, choices in tagger.taggers.items():
        settings = settings_of("prepare", compose("prepare", [*choices, *overrides], config_dir))
        settings, profile = use_machine(for_one_process(settings))
        part = create_part("features", settings.features, profile, code_of(str(settings.features.target)))
        if not isinstance(part, EncoderPart):
            line = f"{file}: taggers.{source}: must choose an encoder, as features=musicnn"
            raise ConfigError([Problem(line, "invalid_value", f"taggers.{source}")])
        store, key = Store(Path(settings.paths.cache).expanduser()), part.key()
        readers.append(WaveformReader(key, part.sample_rate, tuple(part.slots()), store))
        embedders[key] = Embedder(part, store)
        columns += [f"{source}/{column}" for column in part.columns]
        overlaps += part.overlaps
    try:
        classifier = TagClassifier(columns, tagger.genres, tagger.floor)
    except ValueError as error:
        raise ConfigError([Problem(f"{file}: {error}", "invalid_value", str(file))]) from error
    content = json.dumps([tagger.model_dump(), [reader.key for reader in readers], top_k], sort_keys=True)
    overlap_text = "; ".join(dict.fromkeys(f"{overlap['what']} ({overlap['dataset']})" for overlap in overlaps))
    return FileClassifier(
        models=[FileModel(name, classifier, readers, embedders)],
        combine=lambda stack: stack[0],
        temperature=1.0,
        decision=Decision(list(tagger.genres), top_k),
        cautions=(
            f"{name}: confidences are not calibrated, since no labelled tracks are involved; docs/predict.md has the accuracy",
            *([f"{name}: pretraining overlap: {overlap_text}"] if overlap_text else []),
        ),
        signature=f"run-{hashlib.sha256(content.encode()).hexdigest()[:12]}",
        workers=cores()[0],
    )


def read_tagger(name: str, config_dir: str | None) -> tuple[Tagger, str]:
    """A tagger's settings, and the name of the file for messages.

    Raises:
        ConfigError: if the file is invalid.
    """
    file = f"{TAGGERS}/{name}.yaml"
    content: dict[str, Any] = Tree(config_dir).read(f"{TAGGERS}/{name}")
    try:
        return TypeAdapter(Tagger).validate_python(content), file
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError([Problem(f"{file}: {key}: {first['msg']}", "invalid_value", f"{file}: {key}")]) from error
