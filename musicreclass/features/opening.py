"""From the settings of `features` to a feature table over recordings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from musicreclass.config.plugins import is_installed
from musicreclass.config.settings.features import FeatureSettings
from musicreclass.config.targets import check_arguments, import_target, invalid_target, rejected_call
from musicreclass.data.recordings import AudioData
from musicreclass.data.track_data import TrackData
from musicreclass.errors import ConfigError, Problem
from musicreclass.features.embeddings import EncoderPart
from musicreclass.features.extractors import Extractor, ExtractorPart
from musicreclass.features.feature_data import FeatureData
from musicreclass.features.parts import Part
from musicreclass.hardware.profile import Profile
from musicreclass.models.encoder import Encoder

NOT_ARGUMENTS = ("_target_", "sample_rate", "precision", "cache", "batch_size")  # keys of conf/features/


def with_features(
    source: TrackData, settings: FeatureSettings, profile: Profile, code_of: Callable[[str], str]
) -> FeatureData:
    """The recordings of a source as a feature table.

    Args:
        source: must provide waveforms.
        settings: `features`.
        profile: determines the device.
        code_of: a hash of the user's code behind a `_target_`, as in `EncoderPart`.

    Raises:
        ConfigError: if the source provides no waveforms, or a target is neither an Encoder nor an Extractor, or rejects its
            arguments.
        WeightsError: if the weights of an encoder cannot be used.
    """
    if not isinstance(source, AudioData):
        provides = " and ".join(source.provides)
        message = f"features: requires recordings, but the data provides {provides}; use features=none"
        raise ConfigError([Problem(message, kind="not_audio_data", key="features")])
    parts = create_parts(settings, profile, code_of)
    (part, *others) = parts.values()
    if isinstance(part, EncoderPart) and not others and part.sample_rate != source.sample_rate:
        remedy = f"features.sample_rate={part.sample_rate}"
        message = f"data.sample_rate={source.sample_rate}: the encoder requires {part.sample_rate} Hz; set {remedy}"
        raise ConfigError(
            [Problem(message, "sample_rate_mismatch", "data.sample_rate", source.sample_rate, suggestion=remedy)]
        )
    return FeatureData(source, parts)


def create_parts(settings: FeatureSettings, profile: Profile, code_of: Callable[[str], str]) -> dict[str, Part]:
    """The sources of features by name; of several, no encoder stays in memory.

    Args:
        settings, profile, code_of: as in `with_features`.
    """
    sections = settings.sources()
    parts: dict[str, Part] = {}
    for key, section in sections.items():
        part = create_part(key, section, profile, code_of(str(section.target)))
        if len(sections) > 1:
            part.key(), part.slots()  # read the weights
            part.release()
        parts[key.rpartition(".")[2]] = part
    return parts


def create_part(key: str, settings: FeatureSettings, profile: Profile, code: str) -> Part:
    """One source of features.

    Args:
        key: of its settings.
        settings: its `_target_` creates an Encoder or an Extractor from the other keys.
        profile, code: as in `with_features`.
    """
    target = str(settings.target)
    create, owner = source_class(target, key)
    arguments = settings.arguments(*NOT_ARGUMENTS)
    check_arguments(create, arguments, key, keys=NOT_ARGUMENTS[1:])
    build = partial(call, create, owner, arguments, key, target)
    if issubclass(owner, Extractor):
        if arguments.get("parallel") == "ray" and not is_installed("ray"):
            line = f"{key}.parallel=ray: ray is not installed: pip install ray"
            raise ConfigError([Problem(line, "missing_plugin", f"{key}.parallel", "ray", "pip install ray")])
        return ExtractorPart(build(), code, profile.device)
    return EncoderPart(build, settings.weights_files(), profile.device, settings.precision, settings.batch_size, code)


def call(create: Callable[..., Any], owner: type, arguments: dict[str, Any], key: str, target: str) -> Any:
    """Create an Encoder or an Extractor.

    Raises:
        ConfigError: if it rejects its arguments, or the callable creates anything else.
    """
    base = Extractor if issubclass(owner, Extractor) else Encoder
    try:
        created = create(**arguments)
    except TypeError as error:
        raise rejected_call(error, create, key) from error
    except ValueError as error:
        if base is Encoder:
            raise
        raise ConfigError([Problem(f"{key}: {error}", "invalid_value", key)]) from error
    if not isinstance(created, base):
        raise invalid_target(f"{key}._target_", target, f"must return an {base.__name__}")
    return created


def source_class(target: str, key: str = "features") -> tuple[Callable[..., Any], type[Encoder] | type[Extractor]]:
    """The callable at a dotted path that creates an Encoder or an Extractor, and the class of what it creates.

    Args:
        target: path of such a class, or of a classmethod of one.
        key: of the settings, for messages.

    Raises:
        ConfigError: if it cannot be imported, or is neither.
    """
    create = import_target(target, f"{key}._target_")
    owner = create if isinstance(create, type) else getattr(create, "__self__", None)
    downloads = not isinstance(create, type) and getattr(create, "__name__", "") == "fetch"  # creates no Encoder
    if not (isinstance(owner, type) and issubclass(owner, (Encoder, Extractor))) or downloads:
        raise invalid_target(f"{key}._target_", target, "must be an Encoder or an Extractor, or a classmethod of one")
    return create, owner
