"""Finished runs as compare needs them: settings, protocol, and the predicted class of every track."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.errors import RunError
from musicreclass.evaluation.combining import only_member
from musicreclass.evaluation.metric_names import CLASS_METRICS, TAG_METRICS
from musicreclass.evaluation.ranking import Rankings, scored_tags
from musicreclass.evaluation.tag_sets import SEPARATOR
from musicreclass.runs.folder import Run
from musicreclass.runs.identity import Identity
from musicreclass.runs.score_log import ScoreLog, TrackSet, describe_scoring, predictions_hash, probability_texts
from musicreclass.runs.signature import experiment_settings, fold_of, hashed

if TYPE_CHECKING:
    from musicreclass.evaluation.predictions import Predictions

LEAK_LEVELS = ("no", "unknown", "yes")  # from best to worst


@dataclass(frozen=True)
class PredictedClasses:
    """True and predicted classes of one split, or of the same split of several folds, sorted by track id.

    Attributes:
        ids: track ids, (n,).
        y_true, y_pred: indices into `classes`, (n,) int64.
        groups: the group of each track, None where unknown.
        classes: the class names, sorted.
    """

    ids: np.ndarray
    y_true: np.ndarray
    y_pred: np.ndarray
    groups: list[str | None]
    classes: tuple[str, ...]
    is_multi: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, str]] = CLASS_METRICS

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> PredictedClasses:
        """Take the most probable class of each track, or the probabilities of tags.

        Raises:
            ValueError: if a track id is duplicated, a target is not a class, or a probability is not finite.
        """
        if predictions.is_multi:
            return PredictedTags.from_predictions(predictions)
        table, names = predictions.table, predictions.classes
        probability = predictions.probabilities()
        classes = tuple(sorted(names))
        class_index = {name: i for i, name in enumerate(classes)}
        if table["track_id"].duplicated().any() or not len(table):
            raise ValueError("predictions are empty or contain duplicate track ids")
        if not table["target"].isin(names).all() or not np.isfinite(probability).all():
            raise ValueError("predictions contain a target that is not a class, or a probability that is not finite")
        ids = table["track_id"].astype(str).to_numpy(object)
        order = np.argsort(ids, kind="stable")
        # argmax runs over the columns as stored, so that ties are resolved as they are in metrics.json
        y_pred = np.array([class_index[name] for name in names])[probability.argmax(1)]
        y_true = np.array([class_index[name] for name in table["target"]])
        groups = predictions.groups()
        return cls(ids[order], y_true[order], y_pred[order], [groups[i] for i in order], classes)

    @classmethod
    def concatenate(cls, folds: list[PredictedClasses]) -> PredictedClasses:
        """Join the predictions of several folds.

        Raises:
            ValueError: if folds share tracks or differ in their classes.
        """
        if len(folds) == 1:
            return folds[0]
        ids = np.concatenate([fold.ids for fold in folds])
        if len(set(ids)) < len(ids) or len({fold.classes for fold in folds}) > 1:
            raise ValueError("folds share tracks or differ in their classes")
        order = np.argsort(ids, kind="stable")
        y_true, y_pred = (
            np.concatenate([getattr(fold, name) for fold in folds])[order] for name in ("y_true", "y_pred")
        )
        groups = [group for fold in folds for group in fold.groups]
        return type(folds[0])(ids[order], y_true, y_pred, [groups[i] for i in order], folds[0].classes)

    def tracks(self) -> TrackSet:
        """The tracks, without their contents."""
        return TrackSet.of(self.ids, self.targets(), repeat(None))

    def targets(self) -> list[str]:
        """The class of each track."""
        return [self.classes[k] for k in self.y_true]

    def absent_classes(self) -> list[str]:
        """The classes that no track has."""
        return sorted({*self.classes} - {self.classes[k] for k in self.y_true})

    def predicted(self) -> list[str]:
        """The predicted class of each track, for a hash of the predictions."""
        return [self.classes[k] for k in self.y_pred]

    def agrees_with(self, scores: dict[str, Any]) -> bool:
        """Whether the scores of a split in metrics.json are those of these predictions."""
        return abs(float(scores["accuracy"]) - float(np.mean(self.y_true == self.y_pred))) <= 1e-6

    @property
    def tracks_hash(self) -> str:
        """A hash of track ids, targets and classes; scores are comparable only where it is equal."""
        text = "\0".join([*self.ids, "", *map(str, self.y_true), "", *self.classes])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class PredictedTags(PredictedClasses):
    """As `PredictedClasses`, for tags: `y_true` has indicators (n, C) uint8, `y_pred` probabilities (n, C)."""

    is_multi: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, str]] = TAG_METRICS

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> PredictedTags:
        """The tags and probabilities of each track.

        Raises:
            ValueError: if a track id is duplicated, or a probability is not finite.
        """
        table, probability, y_true = predictions.table, predictions.probabilities(), predictions.y_true()
        if table["track_id"].duplicated().any() or not len(table):
            raise ValueError("predictions are empty or contain duplicate track ids")
        if not np.isfinite(probability).all() or not np.isin(y_true, (0, 1)).all():
            raise ValueError("predictions contain a probability that is not finite, or an indicator other than 0 and 1")
        ids = table["track_id"].astype(str).to_numpy(object)
        rows, columns = np.argsort(ids, kind="stable"), np.argsort(np.array(predictions.classes, dtype=object))
        groups = predictions.groups()
        names = tuple(predictions.classes[i] for i in columns)
        return cls(ids[rows], y_true[rows][:, columns], probability[rows][:, columns], [groups[i] for i in rows], names)

    def targets(self) -> list[str]:
        """The tags of each track, joined."""
        names = np.array(self.classes, dtype=object)
        return [SEPARATOR.join(names[row.astype(bool)]) for row in self.y_true]

    def absent_classes(self) -> list[str]:
        """The tags that all tracks have or lack."""
        return [name for name, scored in zip(self.classes, scored_tags(self.y_true), strict=True) if not scored]

    def predicted(self) -> list[str]:
        """The probabilities of each track as text."""
        return probability_texts(self.y_pred)

    def agrees_with(self, scores: dict[str, Any]) -> bool:
        """See `PredictedClasses`."""
        roc_auc = scores["roc_auc"]
        rankings = Rankings(self.y_true, self.y_pred)
        roc_auc_here = rankings.macro(np.ones((1, len(self.ids))))["roc_auc"][0] if rankings.rankings else None
        if roc_auc is None or roc_auc_here is None:
            return roc_auc is roc_auc_here
        return abs(float(roc_auc) - float(roc_auc_here)) <= 1e-6


@dataclass(frozen=True)
class Entry:
    """A finished run.

    Attributes:
        folder: the run folder.
        settings: the checked settings.
        identity, provenance: the contents of these files.
        experiment: the settings that define the experiment, without seed and fold.
        split, leaky: the protocol, and whether it leaks.
        cautions: what else may make the scores too high, as a short mark -> details.
        overlap: known overlaps of this dataset with the pretraining data of the encoder, one line each.
        selected: whether the epoch or round of the model was chosen on the validation tracks.
        stale: whether the code has changed since the run was trained.
        lacks_code: whether the user's code is not found, so that a change of it is not detected.
        predictions: the predicted classes by split.
        members: the settings of the members of an ensemble.
        only_member: the name of the member that has all weight of an ensemble; empty for others.
    """

    folder: Path
    settings: TrainSettings
    identity: Identity
    provenance: dict[str, Any]
    experiment: dict[str, Any]
    split: str
    leaky: str
    cautions: dict[str, str]
    overlap: list[str]
    selected: bool
    stale: bool
    lacks_code: bool
    predictions: dict[str, PredictedClasses]
    members: tuple[TrainSettings, ...] = ()
    only_member: str = ""

    @property
    def seed(self) -> int:
        """The seed."""
        return self.settings.seed

    @property
    def fold(self) -> int | str | None:
        """The fold, None where the data has none."""
        return fold_of(self.settings)

    @property
    def code(self) -> str:
        """A short hash of the code version: of this package and of the user's modules."""
        return hashed([self.identity.code, self.identity.user_code])[:6]

    def scored_tracks(self, split: str, log: ScoreLog) -> TrackSet:
        """The tracks of a split: as logged, or without their contents if the log does not have them."""
        return log.find(str(self.identity.signature), split) or self.predictions[split].tracks()

    def add_to(self, log: ScoreLog) -> None:
        """Add the scores that the log lacks, as those of a run that was copied from elsewhere."""
        logged = {(scoring.signature, scoring.split, scoring.predictions) for scoring in log.scorings.values()}
        for split, predicted in self.predictions.items():
            predictions = predictions_hash(predicted.ids, predicted.predicted())
            if (self.identity.signature, split, predictions) not in logged:
                self.add_scoring(log, split, predicted)

    def predicts_as(self, other: Entry) -> bool:
        """Whether two runs have equal predictions of the splits that both were scored on."""
        both = self.predictions.keys() & other.predictions.keys()
        pairs = ((self.predictions[split], other.predictions[split]) for split in both)
        return all(one.tracks_hash == two.tracks_hash and one.predicted() == two.predicted() for one, two in pairs)

    def add_scoring(self, log: ScoreLog, name: str, predicted: PredictedClasses) -> None:
        """Add the scores of some predictions under their name in metrics.json."""
        predictions, tracks = predictions_hash(predicted.ids, predicted.predicted()), predicted.tracks()
        log.add(describe_scoring(self.settings, self.identity, name, predictions, tracks, self.folder.name), tracks)

    @property
    def choices(self) -> dict[str, Any]:
        """The option chosen for each group of the configuration."""
        return dict(self.identity.choices)

    @property
    def data(self) -> str:
        """The name of the dataset, with its source where it has one."""
        return " ".join(str(part) for part in (self.choices.get("data"), self.identity.source) if part)

    @property
    def random_encoder(self) -> bool:
        """Whether a pretrained encoder was replaced by random weights."""
        sections = [section for settings in (self.settings, *self.members) for section in settings.weighted().values()]
        return any(section.checkpoint == "random" for section in sections)


def read_runs(runs: list[Run]) -> tuple[list[Entry], list[str]]:
    """Read finished runs, each signature once for each version of the code.

    Returns:
        the runs, and a line for each run that was skipped.
    """
    entries: dict[tuple[str, str], Entry] = {}
    skipped = []
    for run in {run.folder.resolve(): run for run in runs}.values():
        try:
            if run.state != "done":
                skipped.append(f"{run.folder} ({run.state})")
                continue
            if run.is_imported:
                skipped.append(f"{run.folder} (imported weights, which were not validated here)")
                continue
            if run.settings.trainer.is_debugging:
                skipped.append(f"{run.folder} (a debugging run)")
                continue
            entry = read_run(run)
        except (RunError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            skipped.append(f"{run.folder} (damaged: {type(error).__name__}: {' '.join(str(error).split())[:120]})")
            continue
        first = entries.setdefault((str(entry.identity.signature), entry.code), entry)
        if first is not entry:
            if entry.predicts_as(first):
                skipped.append(f"{run.folder} (the same run as {first.folder})")
            else:
                line = f"{run.folder} (the settings, data and code of {first.folder}, with other predictions)"
                skipped.append(line)
    return list(entries.values()), skipped


def read_run(run: Run) -> Entry:
    """Read a finished run, and check its predictions against its metrics.

    Raises:
        RunError, KeyError, TypeError, ValueError: if a file is damaged or inconsistent with the others.
    """
    metrics, identity, provenance = run.metrics, run.identity, run.provenance
    protocol = metrics["protocol"]
    predictions: dict[str, PredictedClasses] = {}
    for split in ("valid", "test"):
        if split in metrics:
            predicted = predictions[split] = PredictedClasses.from_predictions(run.predictions(split))
            if int(metrics[split]["n"]) != len(predicted.ids) or not predicted.agrees_with(metrics[split]):
                raise ValueError(f"metrics.json and predictions/{split}.parquet disagree")
    if not predictions or protocol["leaky"] not in LEAK_LEVELS:
        raise ValueError("metrics.json contains no scores, or no valid protocol")
    if not (isinstance(identity.signature, str) and isinstance(identity.fingerprint, str)):
        raise ValueError("identity.json contains no signature or no fingerprint")
    if not isinstance(identity.choices, dict):
        raise ValueError("identity.json contains no choices")
    settings = run.settings
    return Entry(
        folder=run.folder,
        settings=settings,
        identity=identity,
        provenance=provenance,
        experiment=experiment_settings(settings),
        split=str(protocol["split"]),
        leaky=protocol["leaky"],
        cautions={str(mark): str(text) for mark, text in protocol.get("cautions", {}).items()},
        overlap=[str(line) for line in protocol.get("pretraining_overlap", [])],
        selected=run.is_selected_on_valid,
        stale=run.is_stale,
        lacks_code=run.lacks_code,
        predictions=predictions,
        members=tuple(member.settings for member in run.members),
        only_member=only_member(metrics.get("ensemble")),
    )
