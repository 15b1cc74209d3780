"""Scoring: from a fitted classifier to predictions, metrics and a figure in its run folder."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicreclass.errors import ConfigError, DataError, RunError
from musicreclass.options import Options
from musicreclass.run import TRACKS, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from musicreclass.classifiers.base import Classifier
    from musicreclass.data.leaks import Protocol
    from musicreclass.data.tracks import TrackData


PLACED = ("checkpoint", "folder")  # in `features`: where weights lie; what they are, the run knows


def score_split(run: Run, classifier: Classifier, data: TrackData, split: str) -> Figure:
    """Predict one split, write its table, its metrics and its confusion matrix.

    Args:
        run: takes the files.
        classifier: fitted.
        data: gives the tracks; that which the run was trained on.
        split: `train`, `valid` or `test`.

    Returns:
        The confusion matrix.
    """
    found, figure = _score(run, classifier, data, split, split)
    metrics = {**run.metrics, split: found, "classes": classifier.meta.classes, "protocol": data.protocol.as_dict()}
    run.write("metrics.json", metrics)
    return figure


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
    found, _ = _score(run, classifier, data, split, name)
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


def _score(run: Run, classifier: Classifier, data: TrackData, split: str, name: str) -> tuple[dict[str, Any], Figure]:
    from musicreclass.report.figures import confusion_figure, save_figure
    from musicreclass.report.metrics import score

    if not data.size(split):
        raise DataError(f"{split}: this copy of the data has no {split} tracks; nothing was scored")
    predictions = classifier.predict(data, split)
    (run.folder / "predictions").mkdir(exist_ok=True)
    predictions.save(run.folder / "predictions" / f"{name}.parquet")
    figure = confusion_figure(predictions, f"{run.folder.name}: {name}, n = {len(predictions)}")
    save_figure(figure, run.folder / "figures" / f"confusion_matrix_{name}.png")
    return score(predictions), figure


def main(arguments: list[str]) -> int:
    """`musicreclass evaluate RUN [--split SPLIT] [OVERRIDES]`."""
    parser = Options(
        "musicreclass evaluate",
        description="Score a finished run on a split of its data, or on other data with the same classes.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="other data: data.path=FILE, data=NAME data.root=DIR"
    )
    parser.add_argument("--split", default="test", choices=("train", "valid", "test", "all"), help="default: test")
    parser.add_argument("--config-dir", metavar="DIR", help="your own folder of configuration")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="MODULE", help="your own code that the model needs"
    )
    args = parser.parse_intermixed_args(arguments)
    sys.path.append(os.getcwd())  # so that a trusted module beside one's data is found
    run = Run.open(args.run)
    if run.state != "done":
        raise RunError(f"{args.run}: {run.state}; only a finished run can be scored")
    if not args.overrides and args.split in run.metrics:
        print(f"{args.split} is scored already")
        return show(run, args.split)
    weights, others = moved_weights(run.config, args.overrides)
    config = run.config if not others else with_other_data(run.config, others, args.config_dir)
    config["features"] = {**(config.get("features") or {}), **weights}
    refuse_foreign_data(args.run, config, tuple(args.trust))
    data = open_to_score(args.run, config, run.identity.get("encoder"))
    classifier = run.classifier(tuple(args.trust))
    if data.fingerprint() == run.identity.get("fingerprint") and args.split != "all":
        score_split(run, classifier, data, args.split)
        return show(run, args.split)
    name = score_elsewhere(run, classifier, data, args.split, config.get("choices", {}))
    print(f"recorded as {name}, beside the run's own scores")
    return show(run, name)


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


def open_to_score(folder: Path, config: dict[str, Any], encoder: str | None = None) -> TrackData:
    """The data to score, whichever splits have tracks.

    Raises:
        RunError: if the configuration does not describe a source of tracks.
        DataError: if the data is not there, or cannot be used.
    """
    from musicreclass.train import open_data

    try:
        return open_data(config, needs=(), encoder=encoder)
    except DataError:
        raise
    except (ConfigError, TypeError, ValueError, KeyError, AttributeError) as error:
        words = str(error) if isinstance(error, ConfigError) else f"data: {type(error).__name__}: {error}"
        raise RunError(f"{folder}/config.yaml: {words}") from error


def show(run: Run, name: str) -> int:
    """Print one split's scores."""
    from rich.console import Console

    from musicreclass.report.summary import show as show_run

    show_run(run, Console(highlight=False), [name])
    return 0


def with_other_data(config: dict[str, Any], overrides: list[str], config_dir: str | None) -> dict[str, Any]:
    """A run's configuration with other data, given as overrides of `data` alone.

    Raises:
        ConfigError: for overrides that are not legal.
        RunError: for overrides of anything but data.
    """
    from omegaconf import OmegaConf

    from musicreclass.check import compose
    from musicreclass.config import Tree
    from musicreclass.identity import CLIPS

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
