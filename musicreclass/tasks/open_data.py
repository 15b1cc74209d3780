"""From the settings of `data` and `features` to a source of tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicreclass.config.settings.data import CombinedSettings, DataSettings
from musicreclass.config.settings.features import FeatureSettings
from musicreclass.config.settings.tasks import Settings, TrainSettings
from musicreclass.config.targets import check_arguments, import_class, rejected_call
from musicreclass.data.class_map import read_class_map
from musicreclass.data.track_data import TrackData
from musicreclass.errors import ConfigError, DataError, Problem, RunError, WeightsError
from musicreclass.features.opening import with_features
from musicreclass.hardware.profile import Profile
from musicreclass.runs.code_version import library_versions, user_code
from musicreclass.runs.signature import hashed
from musicreclass.tasks.find_or_train import check_task


def open_data(
    settings: Settings, profile: Profile, needs: tuple[str, ...] = ("train", "valid"), encoder: str | None = None
) -> TrackData:
    """The configured source, read and split; its recordings are turned into a table if `features` is set.

    Args:
        settings: checked.
        profile: where the encoder of `features` computes.
        needs: the splits that must have tracks.
        encoder: the fingerprint that the encoder of `features` must have, if a model was trained on its vectors.

    Raises:
        UserError: if the data does not exist or cannot be used.
    """
    assert settings.data is not None
    data = source = create(settings.data)
    source.allow_untrained_classes = isinstance(settings, TrainSettings) and settings.allow_untrained_classes
    if settings.features.target is not None:
        data = with_features(data, settings.features, profile, code_of)
        if encoder is not None:
            check_encoder(settings.features, data.encoder_fingerprint, encoder)
    data.needs = needs
    data.prepare_data()
    data.setup("fit")
    data.incomplete = source.incomplete
    check_task(settings.task, data.is_multi)
    return data


def check_encoder(features: FeatureSettings, fingerprint: str, expected: str) -> None:
    """Make sure that features are computed as those that a model was trained on.

    Args:
        features: the settings.
        fingerprint: as `joint_fingerprint` of their parts.
        expected: that of the training.

    Raises:
        WeightsError: if they are not.
    """
    if fingerprint == expected:
        return
    keys = [key for key, section in features.sources().items() if section.checkpoint or section.folder]
    remedy = " or ".join(f"{key}.checkpoint=FILE or {key}.folder=DIR" for key in keys)
    line = "features: not the encoder that the run was trained with: its weights or its code have changed"
    line += f"; name the original with {remedy}" if keys else ""
    raise WeightsError(line, "another_encoder", f"{keys[0]}.checkpoint" if keys else "features")


def code_of(target: str) -> str:
    """A hash of the user's code behind a `_target_`; empty for one of this package."""
    node = {"_target_": target}
    code = {**user_code(node), **library_versions(node)}
    return hashed(code) if code else ""


def create(settings: DataSettings, key: str = "data") -> TrackData:
    """The source of tracks that `_target_` names; of combined datasets with its parts.

    Args:
        settings: of the source.
        key: of the settings, for messages.

    Raises:
        ConfigError: if it cannot be imported, is no source of tracks, or does not take its arguments.
    """
    target = str(settings.target)
    source = import_class(
        target, f"{key}._target_", lambda kind: issubclass(kind, TrackData), "must be a subclass of TrackData"
    )
    provides: Any = getattr(source, "provides", ())  # of a subclass, possibly a property
    if isinstance(provides, tuple) and provides and not set(settings.provides or ()) <= set(provides):
        base = next(kind.__name__ for kind in source.__mro__[1:] if kind.__module__.startswith("musicreclass."))
        claimed, provided = (f"[{', '.join(names)}]" for names in (settings.provides, provides))
        line = f"{key}.provides={claimed}: {target} is a {base}, which provides {provided}"
        raise ConfigError(
            [Problem(line, "input_mismatch", f"{key}.provides", settings.provides, f"provides: {provided}")]
        )
    arguments = settings.arguments("provides", "class_map")
    check_arguments(source, arguments, key, keys=DataSettings.about)
    if isinstance(settings, CombinedSettings):
        parts = {name: part for name, part in settings.sources().items() if part is not settings}
        arguments["parts"] = {name.rpartition(".")[2]: create(part, name) for name, part in parts.items()}
    try:
        created = source(**arguments)
    except TypeError as error:
        raise rejected_call(error, source, key) from error
    if settings.class_map is not None:
        created.class_map = read_class_map(settings.class_map, key=f"{key}.class_map")
    return created


def open_to_score(folder: Path, settings: Settings, profile: Profile, encoder: str | None = None) -> TrackData:
    """The data to score, whichever splits have tracks.

    Args:
        folder: of the run, for messages.
        settings: the run's own, or with other data.
        profile, encoder: as in `open_data`.

    Raises:
        RunError: if the settings do not describe a source of tracks.
        DataError: if the data does not exist, or cannot be used.
    """
    try:
        return open_data(settings, profile, needs=(), encoder=encoder)
    except DataError:
        raise
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        message = str(error) if isinstance(error, ConfigError) else f"data: {type(error).__name__}: {error}"
        raise RunError(f"{folder}/config.yaml: {message}", "unusable_config", folder) from error
