"""The evaluate task: score a finished run on a split of its data, or on other data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from musicreclass.classifiers.base import Classifier
from musicreclass.config.check import compose
from musicreclass.config.parse import parse
from musicreclass.config.settings.data import CLIPS, OF_COMBINATION
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.config.tree import Tree
from musicreclass.data.class_map import fitting_class_map
from musicreclass.data.track_data import TrackData
from musicreclass.errors import ConfigError, DataError, RunError, notices, trust_remedy
from musicreclass.report.model_card import write_model_card
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import section_of
from musicreclass.tasks.ensemble_scores import score_ensemble
from musicreclass.tasks.find_or_train import check_files
from musicreclass.tasks.leaks_from_training import leaks_from_training
from musicreclass.tasks.machine import for_one_process, use_machine
from musicreclass.tasks.open_data import open_to_score
from musicreclass.tasks.score import score_predictions, score_split
from musicreclass.tasks.unlike_training import unlike_training

CACHE = "paths.cache="
DATA_KEYS = ("data", "data.root", "data.path")  # that name other data
PACKAGE_MODULES = ("musicreclass.",)  # of sources and encoders that a run folder may name without --trust
LOCATIONS = ("checkpoint", "folder")  # in `features`: where weights are; the run records which they are


class Scored(NamedTuple):
    """What was scored.

    Attributes:
        run: the run.
        name: of the split, or of the record of other data.
        already: whether the score existed before.
        is_score: False if only probabilities were written.
    """

    run: Run
    name: str
    already: bool = False
    is_score: bool = True


def evaluate(
    folder: Path,
    split: str = "test",
    overrides: list[str] | None = None,
    config_dir: str | None = None,
    trust: tuple[str, ...] = (),
    outputs: Path | None = None,
) -> Scored:
    """Score a finished run.

    An ensemble is scored by the predictions of its members, which are scored first where they lack some.

    Args:
        folder: the run folder.
        split: `train`, `valid`, `test` or `all`.
        overrides: of `data`, for other data with the same classes; or where the encoder's weights are now.
        config_dir: your own folder of configuration.
        trust: your own modules that the model needs.
        outputs: the folder of the score log; by default the one that contains the run folder.

    Raises:
        RunError: if the run is not finished or cannot be read.
        DataError: if the data does not exist, or does not fit the model.
    """
    run = Run.open(folder)
    if run.state != "done":
        state = "failed" if run.state == "failed" else f"is {run.state}"
        raise RunError(f"{folder}: the run {state}; only finished runs can be scored", "unfinished_run", folder)
    if not overrides and split in run.metrics:
        return Scored(run, split, already=True)
    if run.combination is not None:
        log_folder = outputs or folder.parent
        with run.claimed():
            if not overrides and split in run.metrics:  # scored by another process meanwhile
                return Scored(run, split, already=True)
            members = [evaluate(m.folder, split, overrides, config_dir, trust, log_folder) for m in run.members]
            name, is_score = score_ensemble(run, split, [(scored.run, scored.name) for scored in members], log_folder)
        return Scored(run, name, is_score=is_score)
    if run.is_imported and not any(text.split("=")[0] in DATA_KEYS for text in overrides or []):
        line = f"{folder}: imported weights have no data of their own; name yours: data.root=DIR with a folder for each genre"
        raise RunError(line, "no_data", folder)
    settings = settings_to_score(run, overrides or [], config_dir)
    features = {"features": settings.features, **settings.features.sources()}
    targets = {key: section.target for key, section in {**settings.data.sources(), **features}.items()}
    check_targets(folder, targets, trust)
    check_files(settings, is_trained=True)
    profile = use_machine(for_one_process(settings))[1]
    identity = run.identity
    data = open_to_score(folder, settings, profile, identity.encoder)
    with run.claimed():
        if run.state != "done" or run.identity != identity:
            raise RunError(f"{folder}: was trained again meanwhile; start again", "run_changed", folder)
        if not overrides and split in run.metrics:  # scored by another process meanwhile
            return Scored(run, split, already=True)
        classifier = run.classifier(trust)
        check_classes(classifier, data)
        if run.is_stale:
            notices.warning(
                "musicreclass: %s: the code has changed since this run; it is scored by the new code", folder
            )
        if data.fingerprint() == identity.fingerprint and split != "all":
            score_split(run, classifier, data, split, outputs)
            write_model_card(run)
            return Scored(run, split)
        if is_placeholder(data, split):
            return Scored(run, predict_only(run, classifier, data, split), is_score=False)
        return Scored(run, score_elsewhere(run, classifier, data, split, settings.choices, outputs))


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


def check_classes(classifier: Classifier, data: TrackData) -> None:
    """Make sure that the model knows the classes of the data, and gives a track as many of them.

    Raises:
        DataError: if it does not.
    """
    if classifier.card.is_multi != data.is_multi:
        texts = ("one label a track", "several labels a track")
        of_model, of_data = texts[classifier.card.is_multi], texts[data.is_multi]
        remedy = (
            "data.label_separator='|' splits a column of labels"
            if classifier.card.is_multi
            else "score a run of that task"
        )
        line = f"the model predicts {of_model}, and the data has {of_data}; {remedy}"
        raise DataError(line, "other_task", "data")
    unknown = sorted(set(data.classes) - set(classifier.card.classes))
    if unknown:
        classes = ", ".join(classifier.card.classes)
        name = fitting_class_map(data.classes, classifier.card.classes) if data.class_map is None else ""
        remedy = f"; data.class_map={name} maps them" if name else ""
        line = (
            f"the data has classes that the model does not know: {', '.join(unknown[:5])}; it knows {classes}{remedy}"
        )
        raise DataError(line, "unknown_classes", "data", unknown, suggestion=remedy and f"data.class_map={name}")


def is_placeholder(data: TrackData, split: str) -> bool:
    """Whether the labels of other data cannot be scored: all tracks have one label, as where it only fills the column."""
    tracks = data.tracks if split == "all" else data.tracks[data.tracks.split == split]
    return tracks.target.nunique() == 1


def predict_only(run: Run, classifier: Classifier, data: TrackData, split: str) -> str:
    """Write the probabilities of other data; no score is computed, recorded or logged.

    Returns:
        the name of the table of predictions.
    """
    name = f"{split}@{data.fingerprint()[:8]}"
    predictions = classifier.predict(data, split)
    run.check_lock()
    predictions.save(run.subfolder("predictions") / f"{name}.parquet")
    return name


def score_elsewhere(
    run: Run, classifier: Classifier, data: TrackData, split: str, choices: dict[str, str], outputs: Path | None = None
) -> str:
    """Score other data than the run was trained on; recorded beside the run's own scores, never among them.

    Returns:
        the name of the record: the split and the data's fingerprint.
    """
    name = f"{split}@{data.fingerprint()[:8]}"
    unlike = unlike_training(run, classifier, data, split)
    scores, _ = score_predictions(run, classifier, data, split, name, outputs)
    leaks = leaks_from_training(run, data, split)
    cautions = {**data.cautions, **unlike, **leaks.cautions}
    overlap = data.protocol.pretraining_overlap
    protocol = replace(leaks, cautions=cautions, pretraining_overlap=overlap).as_dict()
    record = {**scores, "choices": choices, "fingerprint": data.fingerprint(), "protocol": protocol}
    metrics = run.metrics
    run.write("metrics.json", {**metrics, "elsewhere": {**metrics.get("elsewhere", {}), name: record}})
    return name


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
        base.append(f"features={choices.get('features')}")
    if "data" not in keys:
        data = config["data"]
        base += [f"{name}={choices[name]}" for name in ("data", "data/split") if name in choices and name not in keys]
        base += overrides_of(data)
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


def overrides_of(data: dict[str, Any], prefix: str = "data") -> list[str]:
    """The settings of data as overrides, without the split; of combined datasets those of each part too, with its split."""
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
        overrides += [f"data/split@{key}.split={part['split']['protocol']}", *overrides_of(part, key)]
        overrides += [as_override(f"{key}.split.{k}", v) for k, v in part["split"].items() if k != "protocol"]
    return overrides


def as_override(key: str, value: Any) -> str:
    """One override in Hydra's grammar, text quoted."""
    return f"{key}={'null' if value is None else json.dumps(value, ensure_ascii=False)}"
