"""The members of an ensemble: finished runs with validation predictions of the same tracks, and what their protocols say together."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.comparison.entries import LEAK_LEVELS
from musicreclass.data.leaks import Protocol, examples
from musicreclass.errors import RunError
from musicreclass.evaluation.combining import quality
from musicreclass.evaluation.predictions import PREFIX, Predictions
from musicreclass.plurals import counted
from musicreclass.runs.folder import TRACKS, Run
from musicreclass.runs.member_files import member_files, refuse_link
from musicreclass.runs.signature import hashed
from musicreclass.storage.regular import read_regular

TOLERANCE = 1e-3  # of the sum of probabilities


@dataclass(frozen=True)
class Member:
    """A run to combine.

    Attributes:
        run: the run.
        valid: its validation predictions, sorted by track id.
    """

    run: Run
    valid: Predictions

    @property
    def name(self) -> str:
        """The name of the run folder."""
        return self.run.folder.resolve().name

    @property
    def signature(self) -> str:
        """The signature of the run."""
        return str(self.run.identity.signature)

    @cached_property
    def model(self) -> str:
        """The chosen model, with the features that it reads and the seed: `logreg on fma518, seed 0`."""
        choices, features = self.run.identity.choices, self.features
        return (
            f"{choices.get('model')}{'' if features == 'none' else f' on {features}'}, seed {self.run.config['seed']}"
        )

    @property
    def features(self) -> str:
        """The chosen features, or `none`."""
        return str(self.run.identity.choices.get("features") or "none")

    @property
    def content(self) -> list[str]:
        """What identifies the run and its predictions."""
        digest = hashed([self.valid.table.track_id.tolist(), self.valid.probabilities().tolist()])
        return [self.signature, digest[:16]]

    @property
    def rank(self) -> tuple[float, float, str]:
        """Sorts members from the best, by accuracy and log loss on validation."""
        accuracy, negative_loss = quality(self.valid.probabilities(), self.valid.y_true())
        return -accuracy, -negative_loss, self.signature

    @cached_property
    def tracks(self) -> pd.DataFrame | None:
        """The Tracks table of the run; None if it has none that can be read."""
        return read_tracks(self.run)


def read_tracks(run: Run) -> pd.DataFrame | None:
    """The ids, splits and checksums of the tracks of a run; None if it has no such table that can be read."""
    try:
        tracks = pd.read_parquet(io.BytesIO(read_regular(run.folder / TRACKS)))
        return tracks[["track_id", "split", "checksum"]].astype({"track_id": str})
    except (OSError, ValueError, KeyError):
        return None


def read_members(folders: Iterable[Path], sort: bool = True) -> list[Member]:
    """The runs to combine.

    Args:
        folders: of the runs.
        sort: from the best on validation; otherwise in this order.

    Raises:
        RunError: if there are fewer than two, one cannot be used, or two differ in their validation tracks or classes.
    """
    members = [read_member(folder) for folder in dict.fromkeys(folders)]
    if len(members) < 2:
        raise RunError("an ensemble needs at least two different runs", "too_few_members", "runs", len(members))
    by_signature: dict[str, Member] = {}
    for member in members:
        first = by_signature.setdefault(member.signature, member)
        if first is not member:
            message = f"{member.run.folder}: has the settings and data of {first.run.folder}; name one of the two"
            raise RunError(message, "same_run", member.run.folder, str(first.run.folder))
        check_same_tracks(members[0], member)
    if sort:
        members.sort(key=lambda member: member.rank)
    check_trained_tracks(members)
    return members


def read_member(folder: Path) -> Member:
    """A run to combine.

    Raises:
        RunError: if it is not finished, was not scored on validation, is an ensemble, or has damaged files.
    """
    run = Run.open(folder)
    run.require_done("combined")
    for _ in member_files(folder):  # refuses links
        pass
    if run.combination is not None:
        message = f"{folder}: is an ensemble; an ensemble of ensembles is not supported: name the runs that it combines"
        raise RunError(message, "nested_ensemble", folder)
    if run.identity.signature is None or run.identity.fingerprint is None:
        raise RunError(f"{folder}/identity.json: contains no signature or no fingerprint", "unreadable", folder)
    metrics = run.metrics
    if metrics.get("valid") is None or metrics.get("protocol") is None:
        message = f"{folder}: was not scored on validation; musicreclass evaluate {folder} --split valid scores it"
        raise RunError(message, "not_scored", folder, "valid")
    return Member(run, checked_predictions(run, "valid"))


def checked_predictions(run: Run, name: str) -> Predictions:
    """The predictions of a member, sorted by track id.

    Raises:
        RunError: if they are missing or damaged, or a link.
    """
    path = run.folder / "predictions" / f"{name}.parquet"
    for part in (path.parent, path):
        refuse_link(part)
    table = run.predictions(name).table
    table = table.assign(track_id=table.track_id.astype(str)).sort_values("track_id", kind="stable", ignore_index=True)
    predictions = Predictions(table)
    try:
        probability = predictions.probabilities()
    except ValueError as error:
        raise RunError(f"{path}: contains a probability that is no number", "invalid_predictions", path) from error
    problem = ""
    if not len(table) or table.track_id.duplicated().any():
        problem = "is empty or names a track twice"
    elif not predictions.is_multi and not table.target.isin(predictions.classes).all():
        problem = "contains a target that is not a class"
    elif predictions.is_multi and not (np.isfinite(probability) & (abs(probability - 0.5) <= 0.5 + 1e-6)).all():
        problem = "contains probabilities that are not between 0 and 1"
    elif not predictions.is_multi and (
        not (np.isfinite(probability).all() and (probability >= -1e-6).all())
        or (abs(probability.sum(axis=1) - 1) > TOLERANCE).any()
    ):
        problem = "contains probabilities that are negative, not finite, or do not sum to 1"
    if problem:
        raise RunError(f"{path}: {problem}", "invalid_predictions", path)
    return predictions


def check_same_tracks(first: Member, other: Member) -> None:
    """Make sure that two members predict the same classes of the same validation tracks."""
    check_same_tables(first.run.folder, first.valid, other.run.folder, other.valid)


def check_same_tables(first_folder: Path, first: Predictions, folder: Path, other: Predictions) -> None:
    """Make sure that two tables of predictions, sorted by track id, have the same classes, tracks and targets.

    Raises:
        RunError: with the first difference.
    """
    if first.classes != other.classes:
        different = sorted(set(first.classes) ^ set(other.classes))
        detail = f"only one of them has {examples(different)}" if different else "their order differs"
        message = (
            f"{folder}: other classes than {first_folder}: {detail}; probabilities are combined class by class: train both "
            "runs on the same classes, with data.class_map=NAME where datasets name them differently"
        )
        raise RunError(message, "other_classes", folder, different)
    ids, other_ids = first.table.track_id, other.table.track_id
    different = sorted(set(ids) ^ set(other_ids))
    if different:
        detail = f"{counted(len(different), 'track is', 'tracks are')} only in one of them ({examples(different)})"
        message = f"{folder}: other tracks than {first_folder}: {detail}; combine runs of the same data and split"
        raise RunError(message, "other_tracks", folder, different[0])
    if first.is_multi != other.is_multi:
        message = f"{folder}: only one of this run and {first_folder} predicts several labels a track; combine runs of one task"
        raise RunError(message, "other_task", folder)
    targets, other_targets = first.targets(), other.targets()
    for track, target, other_target in zip(ids, targets, other_targets, strict=True):
        if target != other_target:
            message = f"{folder}: other targets than {first_folder}: {track} is {other_target} instead of {target}"
            raise RunError(message, "other_targets", folder, track)


def joined_groups(tables: list[Predictions]) -> list[str | None]:
    """The group of each track, from the first table that knows it."""
    return [
        next((g for g in groups if g is not None), None) for groups in zip(*(t.groups() for t in tables), strict=True)
    ]


def with_probabilities(predictions: Predictions, probability: np.ndarray, groups: list[str | None]) -> Predictions:
    """The same tracks with other probabilities and groups."""
    table = predictions.labels().assign(group=np.array(groups, object))
    columns = {PREFIX + name: probability[:, k] for k, name in enumerate(predictions.classes)}
    return Predictions(table.assign(**columns))


def checksums(predictions: Predictions, tables: list[pd.DataFrame | None]) -> pd.DataFrame:
    """`track_id` and `checksum` of tracks, from the first Tracks table that there is; None where unknown."""
    recorded = next((table for table in tables if table is not None), None)
    ids = predictions.table.track_id
    contents = {} if recorded is None else dict(zip(recorded.track_id, recorded.checksum, strict=True))
    return pd.DataFrame({"track_id": ids, "checksum": [contents.get(i) for i in ids]})


def check_trained_tracks(members: list[Member]) -> None:
    """Make sure that no member was trained on a validation track, by id or content.

    Raises:
        RunError: for the first that was.
    """
    ids = set(members[0].valid.table.track_id)
    contents = {
        c for m in members if m.tracks is not None for c in m.tracks.checksum[m.tracks.track_id.isin(ids)].dropna()
    }
    for member in members:
        if member.tracks is None:
            continue
        trained = member.tracks[member.tracks.split == "train"]
        by_id = trained.track_id[trained.track_id.isin(ids)].tolist()
        if by_id:
            message = (
                f"{member.run.folder}: was trained on {len(by_id)} of the validation tracks ({examples(by_id)}); "
                "combine runs of the same split"
            )
            raise RunError(message, "trained_on_validation", member.run.folder, by_id[0])
        if contents & set(trained.checksum.dropna()) and member.run.metrics["protocol"].get("leaky") != "yes":
            message = f"{member.run.folder}: was trained on a recording with the content of a validation track"
            raise RunError(message, "trained_on_validation", member.run.folder)


def member_names(members: list[Member]) -> list[str]:
    """A name of each member: that of its folder, with the signature where two folders have one name."""
    names = [member.name for member in members]
    return [
        name if names.count(name) == 1 else f"{name} {member.signature[:6]}"
        for name, member in zip(names, members, strict=True)
    ]


def joined_protocol(names: list[str], records: list[dict[str, Any]]) -> Protocol:
    """The protocol of an ensemble: the worst of its members', with what each says.

    Args:
        names: of the members.
        records: their protocols, as in metrics.json.
    """
    protocols = [Protocol(**known_fields(record)) for record in records]
    worst = max((p.leaky for p in protocols), key=LEAK_LEVELS.index)
    cautions: dict[str, str] = {}
    for protocol in protocols:
        for mark, text in protocol.cautions.items():
            cautions[mark] = text if cautions.get(mark, text) == text else f"{cautions[mark]}; {text}"
    return Protocol(
        " + ".join(dict.fromkeys(p.split for p in protocols)),
        worst,
        labelled([p.why for p in protocols], names),
        cautions,
        list(dict.fromkeys(line for p in protocols for line in p.pretraining_overlap)),
        [part for part in protocols[0].checked if all(part in p.checked for p in protocols)],
    )


def known_fields(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a protocol that this version has."""
    defaults = {"split": "", "leaky": "unknown", "why": []}
    return {**defaults, **{name: record[name] for name in Protocol.__dataclass_fields__ if name in record}}


def labelled(lines_of_members: list[list[str]], names: list[str]) -> list[str]:
    """Each line once: as it is if every member has it, otherwise after the names of the members that do."""
    owners: dict[str, list[str]] = {}
    for name, lines in zip(names, lines_of_members, strict=True):
        for line in lines:
            owners.setdefault(line, []).append(name)
    return [line if len(who) == len(names) else f"{', '.join(who)}: {line}" for line, who in owners.items()]


def with_other_test_tracks(protocol: Protocol, names: list[str], members: list[Member]) -> Protocol:
    """The protocol, leaky if a member was trained on a test track of another, and unknown where that cannot be checked."""
    tables = {name: member.tracks for name, member in zip(names, members, strict=True)}
    unchecked = [name for name, tracks in tables.items() if tracks is None]
    tests = {i for t in tables.values() if t is not None for i in t.track_id[t.split == "test"]}
    lines = []
    for name, tracks in tables.items():
        if tracks is not None and (ids := sorted(tests & set(tracks.track_id[tracks.split == "train"]))):
            lines.append(f"{name} was trained on {counted(len(ids), 'test track')} of another member ({examples(ids)})")
    protocol = protocol.with_leaks(lines, "training tracks of a member with test tracks of another")
    if unchecked and protocol.leaky == "no":
        line = f"it is not recorded which tracks {', '.join(unchecked)} was trained on"
        return replace(protocol, leaky="unknown", why=[*protocol.why, line])
    return protocol
