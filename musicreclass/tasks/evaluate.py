"""The evaluate task: score a finished run on a split of its data, or on other data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from musicreclass.classifiers.base import Classifier
from musicreclass.data.class_map import fitting_class_map
from musicreclass.data.track_data import TrackData
from musicreclass.errors import DataError, RunError, notices
from musicreclass.report.model_card import write_model_card
from musicreclass.runs.folder import Run
from musicreclass.tasks.ensemble_scores import score_ensemble
from musicreclass.tasks.find_or_train import check_files
from musicreclass.tasks.leaks_from_training import leaks_from_training
from musicreclass.tasks.machine import for_one_process, use_machine
from musicreclass.tasks.open_data import open_to_score
from musicreclass.tasks.score import score_predictions, score_split
from musicreclass.tasks.settings_to_score import check_targets, settings_to_score
from musicreclass.tasks.unlike_training import unlike_training

DATA_KEYS = ("data", "data.root", "data.path")  # that name other data


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
    run.require_done("scored")
    if not overrides and split in run.metrics:
        return Scored(run, split, already=True)
    if run.combination is not None:
        return evaluate_ensemble(run, split, overrides, config_dir, trust, outputs or folder.parent)
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
            notices.warning("%s: the code has changed since this run; it is scored by the new code", folder)
        if data.fingerprint() == identity.fingerprint and split != "all":
            score_split(run, classifier, data, split, outputs)
            write_model_card(run)
            return Scored(run, split)
        if is_placeholder(data, split):
            return Scored(run, predict_only(run, classifier, data, split), is_score=False)
        return Scored(run, score_elsewhere(run, classifier, data, split, settings.choices, outputs))


def evaluate_ensemble(
    run: Run,
    split: str,
    overrides: list[str] | None,
    config_dir: str | None,
    trust: tuple[str, ...],
    outputs: Path,
) -> Scored:
    """Score an ensemble by the predictions of its members; see `evaluate`."""
    with run.claimed():
        if not overrides and split in run.metrics:  # scored by another process meanwhile
            return Scored(run, split, already=True)
        members = [evaluate(m.folder, split, overrides, config_dir, trust, outputs) for m in run.members]
        name, is_score = score_ensemble(run, split, [(scored.run, scored.name) for scored in members], outputs)
    return Scored(run, name, is_score=is_score)


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
