"""From the configuration of `data` and `features` to a DataModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import get_object

from musicreclass.config.messages import one_line
from musicreclass.data.tracks import TrackData
from musicreclass.errors import ConfigError, DataError, RunError, WeightsError
from musicreclass.features.embeddings import embedded
from musicreclass.hardware.profile import Profile


def open_data(
    config: dict[str, Any],
    needs: tuple[str, ...] = ("train", "valid"),
    encoder: str | None = None,
    profile: Profile | None = None,
) -> TrackData:
    """The configured DataModule, its recordings turned into a table where `features` says so, read and split.

    Args:
        config: a resolved configuration.
        needs: the splits that must have tracks.
        encoder: the fingerprint that the encoder of `features` must have, where a model was trained on its vectors.
        profile: where the encoder of `features` computes; None resolves `hardware` and applies it to this process.

    Raises:
        UserError: if the data is not there or cannot be used.
    """
    node = {name: value for name, value in config["data"].items() if name != "provides"}
    target = str(node.pop("_target_", None))
    try:
        found = get_object(target)
    except Exception as error:
        raise ConfigError([f"data._target_={target}: cannot be imported: {one_line(error)}"]) from error
    if not (isinstance(found, type) and issubclass(found, TrackData)):
        raise ConfigError([f"data._target_={target}: not a TrackData, which a source of tracks must be"])
    try:
        data = found(**node)
    except TypeError as error:
        raise ConfigError([f"data: {one_line(error)}"]) from error
    features = config.get("features") or {}
    if features.get("_target_"):
        if profile is None:
            profile = Profile.of(config["hardware"])
            profile.apply()
        data = embedded(data, features, profile)
        if encoder is not None and data.encoder_fingerprint != encoder:
            raise WeightsError(
                "features: the encoder is not the one that the run was trained on: its weights or its code have changed; say"
                " where that one is: features.checkpoint=FILE, or features.folder=DIR"
            )
    data.needs = needs
    data.prepare_data()
    data.setup("fit")
    return data


def open_to_score(folder: Path, config: dict[str, Any], encoder: str | None = None) -> TrackData:
    """The data to score, whichever splits have tracks.

    Raises:
        RunError: if the configuration does not describe a source of tracks.
        DataError: if the data is not there, or cannot be used.
    """
    try:
        return open_data(config, needs=(), encoder=encoder)
    except DataError:
        raise
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        words = str(error) if isinstance(error, ConfigError) else f"data: {type(error).__name__}: {error}"
        raise RunError(f"{folder}/config.yaml: {words}") from error
