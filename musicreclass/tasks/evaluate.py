"""Scoring: from a fitted classifier to predictions, metrics and a figure in its run folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicreclass.errors import DataError, RunError
from musicreclass.runs.folder import TRACKS, Run
from musicreclass.tasks.score import score_predictions

if TYPE_CHECKING:
    from musicreclass.classifiers.base import Classifier
    from musicreclass.data.leaks import Protocol
    from musicreclass.data.tracks import TrackData


PLACED = ("checkpoint", "folder")  # in `features`: where weights lie; what they are, the run knows


def score_elsewhere(run: Run, classifier: Classifier, data: TrackData, split: str, choices: dict[str, Any]) -> str:
    """Score other data than the run was trained on; recorded beside the run's own scores, never among them.

    Returns:
        the name of the record: the split and the data's fingerprint.

    Raises:
        DataError: if the data has classes that the model does not know.
    """
    strange = sorted(set(data.classes) - set(classifier.meta.classes))
    if strange:
        known = ", ".join(classifier.meta.classes)
        raise DataError(
            f"the data has classes that the model does not know: {', '.join(strange[:5])}; it knows {known}"
        )
    name = f"{split}@{data.fingerprint()[:8]}"
    found, _ = score_predictions(run, classifier, data, split, name)
    leaks = leaks_from_training(run, data)
    protocol = replace(leaks, pretraining_overlap=data.protocol.pretraining_overlap).as_dict()
    record = {**found, "choices": choices, "fingerprint": data.fingerprint(), "protocol": protocol}
    metrics = run.metrics
    run.write("metrics.json", {**metrics, "elsewhere": {**metrics.get("elsewhere", {}), name: record}})
    return name


def leaks_from_training(run: Run, data: TrackData) -> Protocol:
    """The protocol of scoring other data: whether artists or recordings in it were trained on, as far as can be told."""
    import pandas as pd

    from musicreclass.data.leaks import Protocol, find_leaks

    if data.fingerprint() == run.identity.get("fingerprint"):
        return Protocol(data.protocol.split, "yes", ["the run's own training tracks are among them"])
    try:
        seen = pd.read_parquet(run.folder / TRACKS)
        both = pd.concat([seen[seen.split != "test"], data.tracks.assign(split="test")], ignore_index=True)
        return find_leaks(both, data.protocol.split)
    except (OSError, ValueError, KeyError, AttributeError):
        unknown = "other data than the run's own: whether its artists or recordings were trained on is not known"
        return Protocol(data.protocol.split, "unknown", [unknown])


def moved_weights(config: dict[str, Any], overrides: list[str]) -> tuple[dict[str, str], list[str]]:
    """Where an encoder's weights lie now, of overrides such as features.checkpoint=FILE; and the other overrides."""
    known = {f"features.{name}=": name for name in PLACED if (config.get("features") or {}).get(name) is not None}
    places = [(name, text) for text in overrides for key, name in known.items() if text.startswith(key)]
    return {n: t.partition("=")[2] for n, t in places}, [t for t in overrides if t not in [text for _, text in places]]


def refuse_foreign_data(folder: Path, config: dict[str, Any], trust: tuple[str, ...]) -> None:
    """A run folder may name only this package's own sources of tracks and encoders, or those of a trusted module."""
    features = config.get("features") or {}
    named = [("data", "data", config["data"].get("_target_")), ("features", "models", features.get("_target_"))]
    for section, home, target in named if features.get("_target_") else named[:1]:
        module = str(target).rpartition(".")[0]
        if not module:
            raise RunError(f"{folder}/config.yaml: {section}._target_={target}: not a class")
        own = module.startswith(f"musicreclass.{home}.")
        if not (own or any(module == m or module.startswith(f"{m}.") for m in trust)):
            told = f"its {section} comes from {target}; if that is your own code, add --trust {module}"
            raise RunError(f"{folder}/config.yaml: {told}")


def with_other_data(config: dict[str, Any], overrides: list[str], config_dir: str | None) -> dict[str, Any]:
    """A run's configuration with other data, given as overrides of `data` alone.

    Raises:
        ConfigError: for overrides that are not legal.
        RunError: for overrides of anything but data.
    """
    from omegaconf import OmegaConf

    from musicreclass.config.check import compose
    from musicreclass.config.science import CLIPS
    from musicreclass.config.tree import Tree

    groups = {text.partition("=")[0]: text for text in overrides}
    wrong = [text for key, text in groups.items() if key.split(".")[0].split("/")[0].lstrip("+") != "data"]
    if wrong:
        raise RunError(f"{wrong[0]}: only data can be overridden here; the model is as it was trained")
    fixed = [f"data.{name}" for name in CLIPS]
    own = [text for key, text in groups.items() if key.lstrip("+") in fixed]
    if own:
        raise RunError(f"{own[0]}: clips are cut as they were in training; it cannot be changed here")
    needs = config["model"].get("input")
    base = [
        f"model={option}" for option in Tree().options_reading("model", "input", needs)[:1]
    ]  # any that reads the same
    features = config.get("features") or {}
    if features.get("_target_"):
        base.append(f"features={config.get('choices', {}).get('features')}")
    if "data" not in groups:
        choices, own = config.get("choices", {}), config["data"]
        base += [f"{name}={choices[name]}" for name in ("data", "data/split") if name in choices and name not in groups]
        base += [override(f"data.{name}", own[name]) for name in own if name not in ("_target_", "provides", "split")]
    cfg = compose("train", [*base, *overrides], config_dir)
    found = dict(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    found["features"] = features
    if needs == "waveform":  # clips are cut as they were in training
        found["data"] |= {name: config["data"][name] for name in CLIPS if name in config["data"]}
    return found


def override(key: str, value: Any) -> str:
    """One override in Hydra's grammar, text quoted."""
    return f"{key}={'null' if value is None else json.dumps(value, ensure_ascii=False)}"
