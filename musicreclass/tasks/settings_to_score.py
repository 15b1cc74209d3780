"""The settings that a finished run is scored with: its own, with other data or with other places of its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from musicreclass.config.check import compose
from musicreclass.config.grammar import in_grammar
from musicreclass.config.parse import parse
from musicreclass.config.settings.data import CLIPS, OF_COMBINATION
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.config.tree import Tree
from musicreclass.errors import ConfigError, RunError, trust_remedy
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import section_of

CACHE = "paths.cache="
PACKAGE_MODULES = ("musicreclass.",)  # of sources and encoders that a run folder may name without --trust
NAME = re.compile(r"[\w@/.+-]+")  # of options and settings
LOCATIONS = ("checkpoint", "folder")  # in `features`: where weights are; the run records which they are


def settings_to_score(run: Run, overrides: list[str], config_dir: str | None) -> TrainSettings:
    """The settings of a run, with other data or another path of the encoder's weights.

    Raises:
        ConfigError: for overrides that are not allowed.
        RunError: if the run's own configuration is not one of this version.
    """
    config = run.config
    locations, data_overrides = split_locations(config, overrides)
    cache = local_cache([text for text in data_overrides if text.startswith(CACHE)])
    data_overrides = [text for text in data_overrides if not text.startswith(CACHE)]
    if data_overrides:
        config = with_other_data(config, data_overrides, config_dir)
    config["paths"] = {**config["paths"], "cache": cache}
    config["data"] = with_store(config["data"], cache)
    for key, values in locations.items():
        section_of(config, key).update(values)
    try:
        settings = parse("train", config)
    except ConfigError as error:
        line = f"{run.folder}/config.yaml: not a configuration of this version: {error.problems[0]}"
        raise RunError(line, "unusable_config", run.folder) from error
    assert isinstance(settings, TrainSettings)
    return settings


def with_store(data: dict[str, Any], cache: str) -> dict[str, Any]:
    """A section of data with the store of this machine, in its parts too."""
    parts = {"parts": {k: with_store(v, cache) for k, v in parts.items()}} if (parts := parts_of(data)) else {}
    return {**data, **({"store": cache} if "store" in data else {}), **parts}


def local_cache(overrides: list[str]) -> str:
    """The cache of this machine. That of the run's configuration may be anywhere, if another person trained it."""
    return str(compose("prepare", overrides).paths.cache)


def split_locations(config: dict[str, Any], overrides: list[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Overrides of where the weights of encoders are, such as features.checkpoint=FILE, by section, and all other overrides."""
    features = config.get("features")
    features = features if isinstance(features, dict) else {}
    sections = {"features": features, **{f"features.parts.{name}": part for name, part in parts_of(features).items()}}
    locations: dict[str, dict[str, str]] = {}
    others = []
    for override in overrides:
        key, _, value = override.partition("=")
        section, _, name = key.rpartition(".")
        if name in LOCATIONS and sections.get(section, {}).get(name) is not None:
            locations.setdefault(section, {})[name] = value
        else:
            others.append(override)
    return locations, others


def parts_of(features: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The joined sources of features, or the combined datasets; empty if there is one source, or none."""
    parts = features.get("parts")
    return {name: part for name, part in parts.items() if isinstance(part, dict)} if isinstance(parts, dict) else {}


def check_targets(folder: Path, targets: Mapping[str, str | None], trust: tuple[str, ...]) -> None:
    """Make sure that a run folder names only this package's sources of tracks and encoders, or those of trusted modules.

    Args:
        folder: of the run.
        targets: `_target_` of each section.
        trust: modules.

    Raises:
        RunError: if it names others.
    """
    for section, target in targets.items():
        if target is None and section == "features":
            continue
        module = str(target).rpartition(".")[0]
        if not module:
            line = f"{folder}/config.yaml: {section}._target_={target}: not a class"
            raise RunError(line, "invalid_target", f"{section}._target_")
        trusted = any(module == name or module.startswith(f"{name}.") for name in trust)
        if not (trusted or module.startswith(PACKAGE_MODULES)):
            line = f"{folder}/config.yaml: {section} is created by {target}; if you trust that code, {trust_remedy(module)}"
            raise RunError(line, "untrusted_module", f"{section}._target_", target, module)


def with_other_data(config: dict[str, Any], overrides: list[str], config_dir: str | None) -> dict[str, Any]:
    """A run's configuration with other data, given as overrides of `data`; all else stays the run's own.

    A run that was trained on a table may be scored on recordings by `features=NAME`, and one that was trained on features of
    recordings on a table by `features=none`.

    Raises:
        ConfigError: for overrides that are not allowed.
        RunError: for overrides of anything but data.
    """
    keys = {text.partition("=")[0].lstrip("+"): text for text in overrides}
    reads, features, choices = config["model"].get("input"), config.get("features") or {}, config.get("choices", {})
    for key, text in keys.items():
        section = key.split(".")[0].split("/")[0]
        switches = section == "features" and (not features.get("_target_") or text == "features=none")
        if section != "data" and not (switches and reads == "table"):
            line = f"{text}: only data and paths.cache can be overridden here; the model stays as it was trained"
            raise RunError(line, "not_data", key)
        if key in [f"data.{name}" for name in CLIPS]:
            raise RunError(f"{text}: cannot be overridden here; clips are cut as in training", "fixed_clips", key)
    base = [f"model={Tree().options_with('model', 'input', reads)[0]}"]  # any model that reads the same
    if features.get("_target_") and "features" not in keys:
        base += chosen_options({"features": choices.get("features")})
    if "data" not in keys:
        base += chosen_options(
            {name: choices[name] for name in ("data", "data/split") if name in choices and name not in keys}
        )
        base += overrides_of(config["data"])
    try:
        cfg = compose("train", [*base, *overrides], config_dir)
    except ConfigError as error:  # names a model that stands in for the run's
        if {problem.kind for problem in error.problems} == {"input_mismatch"}:
            line = f"{' '.join(overrides)}: the run's model reads a {reads}, which this data does not provide"
            raise RunError(line, "input_mismatch", "data", reads) from error
        raise
    composed = dict(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    clips = {name: config["data"][name] for name in CLIPS if name in config["data"]} if reads == "waveform" else {}
    chosen = {group: option for group, option in composed["choices"].items() if group.split("/")[0] == "data"}
    if any(key.split(".")[0] == "features" for key in keys):
        config = {**config, "features": composed["features"]}
        chosen["features"] = composed["choices"]["features"]
    return {**config, "data": {**composed["data"], **clips}, "choices": {**choices, **chosen}}


def chosen_options(choices: Mapping[str, Any]) -> list[str]:
    """The overrides that choose options.

    Args:
        choices: of a run folder, by group.

    Raises:
        RunError: for a name that no option can have: other text could be more than a name in Hydra's grammar.
    """
    for group, option in choices.items():
        if not all(NAME.fullmatch(str(text)) for text in (group, option)):
            line = f"config.yaml: {group}={option!r:.100}: is not the name of an option; the run folder may be damaged"
            raise RunError(line, "unusable_config", group, option)
    return [f"{group}={option}" for group, option in choices.items()]


def overrides_of(data: dict[str, Any], prefix: str = "data") -> list[str]:
    """The settings of data as overrides, without the split; of combined datasets those of each part too, with its split.

    Raises:
        RunError: for a key that is no name.
    """
    parts = parts_of(data)
    without = (
        "_target_",
        "provides",
        "split",
        *(("parts",) if parts else ()),
        *(OF_COMBINATION if prefix != "data" else ()),
    )
    overrides = [as_override(f"{prefix}.{name}", value) for name, value in data.items() if name not in without]
    for name, part in parts.items():
        key = f"{prefix}.parts.{name}"
        overrides += chosen_options({f"data/split@{key}.split": part["split"]["protocol"]})
        overrides += overrides_of(part, key)
        overrides += [as_override(f"{key}.split.{k}", v) for k, v in part["split"].items() if k != "protocol"]
    return overrides


def as_override(key: str, value: Any) -> str:
    """One override in Hydra's grammar.

    Raises:
        RunError: for a key that is no name.
    """
    if not NAME.fullmatch(key):
        line = f"config.yaml: {key!r:.100}: is not the name of a setting; the run folder may be damaged"
        raise RunError(line, "unusable_config", key)
    return f"{key}={in_grammar(value)}"
