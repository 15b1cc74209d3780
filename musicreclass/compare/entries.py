"""What compare reads of a run folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from musicreclass.errors import RunError
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import scientific

if TYPE_CHECKING:
    from musicreclass.evaluation.predictions import Predictions

LEAKS = ("no", "unknown", "yes")  # from best to worst


@dataclass(frozen=True)
class Scored:
    """Predictions of one split, or of several folds' splits together, in the order of track ids.

    Attributes:
        ids: track ids, (n,).
        y_true, y_pred: numbers of classes, (n,) int64.
        groups: each track's group, None where unknown.
        classes: the class names, sorted.
    """

    ids: np.ndarray
    y_true: np.ndarray
    y_pred: np.ndarray
    groups: list[str | None]
    classes: tuple[str, ...]

    @classmethod
    def of(cls, predictions: Predictions) -> Scored:
        """A table of predictions, as far as compare needs it.

        Raises:
            ValueError: if it holds a track twice, a target that is no class, or probabilities that are no numbers.
        """
        table, names = predictions.table, predictions.classes
        probability = predictions.probabilities()
        classes = tuple(sorted(names))
        number = {name: i for i, name in enumerate(classes)}
        if table["track_id"].duplicated().any() or not len(table):
            raise ValueError("predictions without tracks, or with a track more than once")
        if not table["target"].isin(names).all() or not np.isfinite(probability).all():
            raise ValueError("predictions with a target that is no class, or probabilities that are no numbers")
        ids = table["track_id"].astype(str).to_numpy(object)
        order = np.argsort(ids, kind="stable")
        y_pred = np.array([number[name] for name in names])[
            probability.argmax(1)
        ]  # among equals the first, as in scores
        y_true = np.array([number[name] for name in table["target"]])
        groups = predictions.groups()
        return cls(ids[order], y_true[order], y_pred[order], [groups[i] for i in order], classes)

    @classmethod
    def pooled(cls, parts: list[Scored]) -> Scored:
        """Several folds' predictions as one table.

        Raises:
            ValueError: if a track lies in two of them, or they know different classes.
        """
        if len(parts) == 1:
            return parts[0]
        ids = np.concatenate([part.ids for part in parts])
        if len(set(ids)) < len(ids) or len({part.classes for part in parts}) > 1:
            raise ValueError("these are not folds of one table")
        order = np.argsort(ids, kind="stable")
        y_true, y_pred = (
            np.concatenate([getattr(part, name) for part in parts])[order] for name in ("y_true", "y_pred")
        )
        groups = [group for part in parts for group in part.groups]
        return cls(ids[order], y_true, y_pred, [groups[i] for i in order], parts[0].classes)

    @property
    def tracks(self) -> str:
        """A hash of the tracks, their targets and the classes: scores compare where it is the same."""
        text = "\0".join([*self.ids, "", *map(str, self.y_true), "", *self.classes])
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A finished run.

    Attributes:
        folder: where it is.
        config, identity, provenance: what its files say.
        settings: what identifies it, but for its seed and its fold.
        split, leaky: its protocol, and what that is worth.
        overlap: where its pretrained encoder is known to have heard recordings of this dataset.
        stale: whether other code made it.
        scored: its predictions by split.
    """

    folder: Path
    config: dict[str, Any]
    identity: dict[str, Any]
    provenance: dict[str, Any]
    settings: dict[str, Any]
    split: str
    leaky: str
    overlap: list[str]
    stale: bool
    scored: dict[str, Scored]

    @property
    def seed(self) -> int:
        """Its seed."""
        return int(self.config["seed"])

    @property
    def fold(self) -> int | str | None:
        """Its fold, where the data is read in folds."""
        found = self.config["data"].get("fold")
        return found if found is None or isinstance(found, int) else str(found)

    @property
    def choices(self) -> dict[str, Any]:
        """The names of the configuration's groups that were chosen."""
        return dict(self.identity["choices"])

    @property
    def data(self) -> str:
        """What it was trained on, by name."""
        return " ".join(str(part) for part in (self.choices.get("data"), self.identity.get("source")) if part)

    @property
    def random_encoder(self) -> bool:
        """Whether what should have been pretrained was drawn at random."""
        parts = [self.config.get(name) for name in ("model", "features")]
        return any(isinstance(part, dict) and part.get("checkpoint") == "random" for part in parts)


def read_runs(runs: list[Run]) -> tuple[list[Entry], list[str]]:
    """The finished runs, each once.

    Returns:
        the runs, and a line for each that is left out.
    """
    found: dict[str, Entry] = {}
    left_out = []
    for run in {run.folder.resolve(): run for run in runs}.values():
        try:
            if run.state != "done":
                left_out.append(f"{run.folder} ({run.state})")
                continue
            entry = read_run(run)
        except (RunError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            left_out.append(f"{run.folder} (damaged: {type(error).__name__}: {' '.join(str(error).split())[:120]})")
            continue
        same = found.setdefault(entry.identity["signature"], entry)
        if same is not entry:
            left_out.append(f"{run.folder} (the same run as {same.folder})")
    return list(found.values()), left_out


def read_run(run: Run) -> Entry:
    """What compare needs of a run.

    Raises:
        RunError, KeyError, TypeError, ValueError: if its files do not say what a run's files say.
    """
    metrics, identity, provenance = run.metrics, run.identity, run.provenance
    protocol = metrics["protocol"]
    scored: dict[str, Scored] = {}
    for split in ("valid", "test"):
        if split in metrics:
            found = scored[split] = Scored.of(run.predictions(split))
            said, n = float(metrics[split]["accuracy"]), int(metrics[split]["n"])
            if n != len(found.ids) or abs(said - float(np.mean(found.y_true == found.y_pred))) > 1e-6:
                raise ValueError(f"metrics.json and predictions/{split}.parquet do not agree")
    if not scored or protocol["leaky"] not in LEAKS:
        raise ValueError("metrics.json holds no scores")
    if not all(isinstance(identity[name], str) for name in ("signature", "fingerprint")):
        raise ValueError("identity.json holds no signature")
    dict(identity["choices"])
    config = run.config
    return Entry(
        folder=run.folder,
        config=config,
        identity=identity,
        provenance=provenance,
        settings=settings_of(config),
        split=str(protocol["split"]),
        leaky=protocol["leaky"],
        overlap=[str(line) for line in protocol.get("pretraining_overlap", [])],
        stale=run.is_stale,
        scored=scored,
    )


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    """What identifies a run, but for its seed and its fold."""
    science = scientific(config)
    data = {name: value for name, value in science["data"].items() if name != "fold"}
    return {**science, "data": data, "model": without_seeds(science["model"]), "seed": None}


def without_seeds(node: Any) -> Any:
    """A model's settings without its random states, which follow the run's seed."""
    if isinstance(node, dict):
        return {name: without_seeds(value) for name, value in node.items() if name != "random_state"}
    return node
