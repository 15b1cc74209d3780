"""The score log: which models were scored on which tracks. `scores.jsonl` in the outputs folder, which only grows.

A test set that many models were scored on is used up, however its split is called. So scores are logged with the tracks, and
deleting a run does not delete its lines. A line describes a set of tracks, once, or one scoring of such a set.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import numpy as np

from musicreclass.errors import notices
from musicreclass.runs.identity import Identity
from musicreclass.runs.signature import experiment_settings, fold_of, hashed
from musicreclass.storage.locks import locked

if TYPE_CHECKING:
    import pandas as pd

    from musicreclass.config.settings.tasks import TrainSettings
    from musicreclass.evaluation.predictions import Predictions

FILE = "scores.jsonl"
TRACK = np.dtype(
    [("id", "<u8"), ("label", "<u8"), ("content", "<u8")]
)  # hashes of the id, of id and target, and of the content
UNKNOWN = 0  # content
SAME_TARGETS = 0.9  # of tracks with equal ids; otherwise the ids are those of another dataset, as row numbers are
WITHOUT_FOLDS = ("random", "grouped", "fault_filtered")  # protocols that `data.fold` does not change
MIN_SHARE = 0.01  # of a set; fewer shared tracks are ignored


class TrackSet:
    """A set of labelled tracks, as hashes of their ids, targets and contents.

    Args:
        tracks: (n,) of dtype `TRACK`.
    """

    def __init__(self, tracks: np.ndarray) -> None:
        self.tracks = np.unique(tracks)

    @classmethod
    def of(cls, ids: Iterable[str], targets: Iterable[str], contents: Iterable[str | None]) -> TrackSet:
        """The set of tracks with these ids, class names, and checksums where they are known."""
        rows = [
            (text_hash(i), text_hash(f"{i}\0{target}"), text_hash(content) if isinstance(content, str) else UNKNOWN)
            for i, target, content in zip(ids, targets, contents, strict=False)  # contents may repeat for ever
        ]
        return cls(np.array(rows, TRACK))

    @classmethod
    def union(cls, sets: Iterable[TrackSet]) -> TrackSet:
        """All tracks of several sets."""
        return cls(np.concatenate([each.tracks for each in sets]))

    @classmethod
    def from_text(cls, text: str) -> TrackSet:
        """The set that `as_text` describes.

        Raises:
            ValueError: if the text is damaged.
        """
        return cls(np.frombuffer(base64.b64decode(text, validate=True), TRACK))

    def as_text(self) -> str:
        """The hashes in base64."""
        return base64.b64encode(self.tracks.tobytes()).decode("ascii")

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def fingerprint(self) -> str:
        """A hash of the set: 16 hexadecimal digits."""
        return hashlib.sha256(self.tracks.tobytes()).hexdigest()[:16]

    def shared_with(self, other: TrackSet) -> np.ndarray:
        """Which tracks another set has too, bool (n,): those of equal content, or of equal id and target."""
        by_id, by_label, by_content = (np.isin(self.tracks[name], other.tracks[name]) for name in TRACK.names or ())
        by_content &= self.tracks["content"] != UNKNOWN
        is_same_dataset = by_label.sum() >= SAME_TARGETS * by_id.sum()
        return np.asarray(by_content | by_label if is_same_dataset else by_content)


def text_hash(text: str) -> int:
    """A hash of text as a positive integer of 64 bits."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1


@dataclass(frozen=True)
class Scoring:
    """One scoring of a set of tracks.

    Attributes:
        tracks: the fingerprint of the set.
        split: the name under which metrics.json has the scores.
        signature: of the run.
        configuration: a hash of its settings and code, without seed and fold.
        predictions: a hash of the predicted classes.
        run: the name of the run folder.
    """

    tracks: str
    split: str
    signature: str
    configuration: str
    predictions: str
    run: str

    @property
    def key(self) -> tuple[str, str, str]:
        """Equal for a repetition, which reveals nothing new: the same settings have the same predictions of the same tracks."""
        return self.signature, self.tracks, self.predictions


@dataclass
class ScoreLog:
    """Scorings and their sets of tracks, in memory.

    Attributes:
        sets: the sets of tracks by fingerprint.
        scorings: without repetitions, by `Scoring.key`.
    """

    sets: dict[str, TrackSet] = field(default_factory=dict)
    scorings: dict[tuple[str, str, str], Scoring] = field(default_factory=dict)

    @classmethod
    def read(cls, *folders: Path) -> ScoreLog:
        """The log of some outputs folders; empty where there is none. Damaged lines are left out."""
        log = cls()
        for file in dict.fromkeys((folder / FILE).resolve() for folder in folders):
            for line in read_lines(file):
                with suppress(ValueError, KeyError, TypeError):
                    if "set" in line:
                        log.sets.setdefault(str(line["set"]), TrackSet.from_text(line["tracks"]))
                    else:
                        scoring = Scoring(**{each.name: str(line[each.name]) for each in fields(Scoring)})
                        log.scorings.setdefault(scoring.key, scoring)
        return log

    def add(self, scoring: Scoring, tracks: TrackSet) -> None:
        """Add a scoring, unless it is a repetition."""
        self.sets.setdefault(scoring.tracks, tracks)
        self.scorings.setdefault(scoring.key, scoring)

    def find(self, signature: str, split: str) -> TrackSet | None:
        """The tracks of a run's split; None if the log does not have them.

        If it was scored on several sets, this is the one that was added last; a repetition does not add an earlier one again.
        """
        matching = (s.tracks for s in self.scorings.values() if (s.signature, s.split) == (signature, split))
        return self.sets.get(next(reversed(list(matching)), ""))

    def use_of(self, tracks: TrackSet) -> SetUse:
        """How much a set of tracks was used, in whole or in part, under whatever name."""
        covered: dict[str, np.ndarray] = {}
        models: dict[str, set[str]] = {}
        shared = {name: tracks.shared_with(other) for name, other in self.sets.items()}
        for scoring in self.scorings.values():
            if scoring.tracks in shared and shared[scoring.tracks].any():
                mask = covered.setdefault(scoring.configuration, np.zeros(len(tracks), bool))
                mask |= shared[scoring.tracks]
                models.setdefault(scoring.configuration, set()).add(scoring.signature)
        shares = {configuration: float(mask.mean()) for configuration, mask in covered.items()}
        complete = [configuration for configuration, fraction in shares.items() if fraction == 1]
        partial = sorted(fraction for fraction in shares.values() if MIN_SHARE <= fraction < 1)
        return SetUse(len(tracks), len(complete), sum(len(models[name]) for name in complete), partial)


@dataclass(frozen=True)
class SetUse:
    """How many models were scored on a set of tracks.

    Attributes:
        n: the number of tracks.
        configurations: that were scored on all of them, not counting seeds and folds.
        models: of these configurations: their seeds and folds.
        shares: of the tracks that each further configuration was scored on, sorted.
    """

    n: int
    configurations: int
    models: int
    shares: list[float]


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a log; a damaged line, such as the last one after a crash, is left out."""
    try:
        content = file.read_bytes() if file.is_file() else b""  # reading a pipe would block
    except OSError:
        return
    for text in content.split(b"\n"):
        with suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict):
                yield line


def describe_scoring(
    settings: TrainSettings, identity: Identity, split: str, predictions: str, tracks: TrackSet, run: str
) -> Scoring:
    """The scoring of a run.

    Args:
        settings, identity: of the run.
        split: the name of the scores.
        predictions: the hash of the predicted classes.
        tracks: that were scored.
        run: the name of the run folder.
    """
    # the fingerprint of the data depends on the fold, which does not count
    protocol = settings.data.as_dict().get("split", {}).get("protocol")
    uses_fold = fold_of(settings) is not None and protocol not in WITHOUT_FOLDS
    data = None if uses_fold else identity.fingerprint
    configuration = hashed([experiment_settings(settings), identity.code, identity.user_code, data])[:16]
    return Scoring(tracks.fingerprint, split, str(identity.signature), configuration, predictions, run)


def predictions_hash(ids: Iterable[str], classes: Iterable[str]) -> str:
    """A hash of the predicted class of each track: 16 hexadecimal digits."""
    return hashed(sorted(zip(map(str, ids), map(str, classes), strict=True)))[:16]


def scored_tracks(predictions: Predictions, tracks: pd.DataFrame) -> TrackSet:
    """The tracks of a table of predictions, with their checksums in the Tracks table."""
    contents = dict(zip(tracks.track_id, tracks.checksum, strict=True))
    ids = predictions.table.track_id
    return TrackSet.of(ids, predictions.targets(), [contents.get(i) for i in ids])


def predicted_classes(predictions: Predictions) -> list[str]:
    """The most probable class of each track; of tags, their probabilities as text."""
    if predictions.is_multi:
        order = np.argsort(np.array(predictions.classes, dtype=object))
        return probability_texts(predictions.probabilities()[:, order])
    return [predictions.classes[k] for k in predictions.probabilities().argmax(1)]


def probability_texts(probability: np.ndarray) -> list[str]:
    """The probabilities (C,) of each track as text, by which equal predictions are recognised."""
    return [" ".join(f"{value:.4f}" for value in row) for row in probability]


def append(folder: Path, scoring: Scoring, tracks: TrackSet) -> None:
    """Add a scoring to the log of an outputs folder, unless it has it. A log that cannot be written is warned of.

    Args:
        folder: the outputs folder.
        scoring: of a model.
        tracks: that were scored.
    """
    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{FILE}.lock"):
            log = ScoreLog.read(folder)
            lines: list[dict[str, Any]] = []
            if scoring.tracks not in log.sets:
                lines.append({"set": scoring.tracks, "n": len(tracks), "tracks": tracks.as_text()})
            if scoring.key not in log.scorings:
                now = datetime.now(timezone.utc).isoformat(timespec="seconds")
                lines.append({"time": now, **asdict(scoring)})
            if lines:
                append_lines(file, lines)
    except OSError as error:
        notices.warning("%s: cannot be written (%s); this score is not counted", file, error.strerror)


def append_lines(file: Path, lines: list[dict[str, Any]]) -> None:
    """Append JSON lines in one write, after a line break if the last line was cut off.

    Raises:
        OSError: if the file is a link or no regular file, or cannot be written.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    try:
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            raise OSError(None, "not a regular file")
        is_torn = status.st_size and os.pread(descriptor, 1, status.st_size - 1) != b"\n"
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        content = (f"\n{text}" if is_torn else text).encode()
        if os.write(descriptor, content) < len(content):
            raise OSError(None, "only in part: the disk is full")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
