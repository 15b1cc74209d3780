"""Scores of an ensemble on a split, or on other data, from the predictions of its members."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.errors import RunError
from musicreclass.evaluation.cascade import Cascade
from musicreclass.evaluation.combining import Combination
from musicreclass.evaluation.predictions import Predictions
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import hashed
from musicreclass.tasks.members import (
    check_same_tables,
    checked_predictions,
    checksums,
    joined_groups,
    joined_protocol,
    read_tracks,
    with_probabilities,
)
from musicreclass.tasks.score import record_predictions


def score_ensemble(run: Run, split: str, scored: list[tuple[Run, str]], outputs: Path) -> tuple[str, bool]:
    """Combine the predictions of the members, and record the scores.

    Args:
        run: the ensemble, claimed.
        split: that was asked for.
        scored: each member, and the name under which it was scored on these tracks.
        outputs: the folder of the score log.

    Returns:
        the name of the record, and whether it has scores: not where all tracks have one label.

    Raises:
        RunError: if the members were scored on different tracks, or a table is damaged.
    """
    combination = run.combination
    assert combination is not None
    names = [name for _, name in scored]
    is_own = set(names) == {split}
    name = names[0] if len(set(names)) == 1 else f"{split}@{hashed(names)[:8]}"
    predictions = combined_predictions(combination, scored)
    run.check_lock()
    records = [member.metrics.get("elsewhere", {}).get(name) for member, name in scored]
    if not is_own and not all(records):
        predictions.save(run.subfolder("predictions") / f"{name}.parquet")
        return name, False
    tables = [read_tracks(member) for member, _ in scored] if is_own else []
    scores, _ = record_predictions(run, predictions, checksums(predictions, tables), name, outputs)
    metrics = run.metrics
    if is_own:
        run.write("metrics.json", {**metrics, split: scores})
    else:
        record = {**scores, **elsewhere_record(combination, records)}
        run.write("metrics.json", {**metrics, "elsewhere": {**metrics.get("elsewhere", {}), name: record}})
    return name, True


def combined_predictions(combination: Combination | Cascade, scored: list[tuple[Run, str]]) -> Predictions:
    """The predictions of an ensemble from those of its members.

    Raises:
        RunError: if the members were scored on different tracks, or a table is damaged.
    """
    tables = [checked_predictions(member, name) for member, name in scored]
    for (member, _), table in zip(scored, tables, strict=True):
        check_same_tables(scored[0][0].folder, tables[0], member.folder, table)
        if table.classes != combination.classes:
            line = f"{member.folder}: has other classes than model/ensemble.json of the ensemble"
            raise RunError(line, "other_classes", member.folder)
    probability = combination.combine(np.stack([table.probabilities() for table in tables]))
    return with_probabilities(tables[0], probability, joined_groups(tables))


def elsewhere_record(combination: Combination | Cascade, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What metrics.json says about other data besides the scores."""
    protocol = joined_protocol(combination.members, [record["protocol"] for record in records])
    fingerprints = sorted({str(record.get("fingerprint")) for record in records})
    fingerprint = fingerprints[0] if len(fingerprints) == 1 else hashed(fingerprints)[: len(fingerprints[0])]
    return {"choices": records[0].get("choices", {}), "fingerprint": fingerprint, "protocol": protocol.as_dict()}
