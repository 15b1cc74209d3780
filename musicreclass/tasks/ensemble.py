"""The ensemble task: combine finished runs by their validation predictions, and write the result as a run folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musicreclass.classifiers.model_folder import write_checksums
from musicreclass.data.leaks import Protocol
from musicreclass.errors import RunError, UserError, notices
from musicreclass.evaluation import combining
from musicreclass.evaluation.cascade import METHOD as CASCADE
from musicreclass.evaluation.cascade import Cascade
from musicreclass.evaluation.combining import BEST, FOLDS, Combination, cross_fit
from musicreclass.evaluation.intervals import Sample, TagSample
from musicreclass.evaluation.paired import paired_tests
from musicreclass.evaluation.resampling import Clusters
from musicreclass.report.history import Curves
from musicreclass.report.summary import final_results, hyperparameters
from musicreclass.runs.code_version import code_version, library_versions, user_code
from musicreclass.runs.files import ENSEMBLE, MEMBERS
from musicreclass.runs.folder import Run
from musicreclass.runs.identity import Identity
from musicreclass.runs.member_files import copy_member
from musicreclass.runs.provenance import Stopwatch, provenance
from musicreclass.runs.signature import hashed
from musicreclass.storage.atomic import replacing, write_json
from musicreclass.tasks.cascade import CascadeOptions, Fitted, check_options, fit_cascade
from musicreclass.tasks.members import (
    Member,
    checksums,
    joined_groups,
    joined_protocol,
    member_names,
    read_member,
    read_members,
    with_other_test_tracks,
    with_probabilities,
)
from musicreclass.tasks.score import calibration_of, record_predictions, thresholds_of
from musicreclass.tasks.stage_costs import Costs
from musicreclass.version import __version__

METHODS = (*combining.METHODS, CASCADE)
OF_CLASSES = ("stacking", CASCADE)  # methods for one label a track
DEFAULT = "greedy"  # leaves out members that are much worse than the others, which a plain mean does not survive
TARGET = "musicreclass.evaluation.combining.Combination"
CASCADE_TARGET = "musicreclass.evaluation.cascade.Cascade"
log = logging.getLogger("musicreclass")


class Built(NamedTuple):
    """An ensemble.

    Attributes:
        run: its run folder.
        existed: whether an earlier command built it.
    """

    run: Run
    existed: bool


class Plan(NamedTuple):
    """An ensemble that is not built yet.

    Attributes:
        method: one of `METHODS`.
        members: from the best on validation; of a cascade, from the first stage.
        names: of the members.
        config: what config.yaml will contain.
        identity: what identity.json will contain.
        run: the folder, which need not exist.
        cascade: options of a cascade; None for other methods.
        costs: of its stages, once they are measured.
    """

    method: str
    members: list[Member]
    names: list[str]
    config: dict[str, Any]
    identity: Identity
    run: Run
    cascade: CascadeOptions | None = None
    costs: Costs | None = None

    @property
    def outputs(self) -> Path:
        """The folder of the score log."""
        return self.run.folder.parent


def ensemble(
    folders: list[Path], method: str = DEFAULT, output: Path | None = None, cascade: CascadeOptions | None = None
) -> Built:
    """Combine finished runs; the test split is not read.

    Args:
        folders: of the runs, in any order; of a cascade, from the cheapest to the most expensive.
        method: one of `METHODS`.
        output: the run folder to write; by default one next to the first member.
        cascade: options of `method="cascade"`.

    Returns:
        The ensemble; it is not built again if the folder has it.

    Raises:
        UserError: for an unknown method, or options that it does not have.
        RunError: if a run cannot be used, runs differ in their tracks, or the folder has another run.
        RunFailedError: for an error while it is built.
    """
    if method not in METHODS:
        raise UserError(f"method={method}: must be one of {', '.join(METHODS)}", "invalid_value", "method", method)
    if method == CASCADE:
        cascade = cascade or CascadeOptions()
        check_options(cascade, len(set(folders)))
    elif cascade is not None:
        line = f"method={method}: has no option of a cascade; use method={CASCADE}"
        raise UserError(line, "invalid_arguments", "method", method)
    members = read_members(folders, sort=method != CASCADE)
    if members[0].valid.is_multi and method in OF_CLASSES:
        line = f"method={method}: is not supported for several labels a track; choose mean, weighted or greedy"
        raise UserError(line, "unsupported_method", "method", method, "method=greedy")
    plan = make_plan(members, method, output, cascade)
    run = plan.run
    with run.claimed():
        existing = run.identity.signature
        if existing == plan.identity.signature and run.state == "done":
            return Built(run, existed=True)
        if existing not in (None, plan.identity.signature):
            message = f"{run.folder}: contains another run ({existing}); choose another folder with --output"
            raise RunError(message, "another_run", run.folder, existing)
        stopwatch = Stopwatch()
        if cascade is not None:
            with stopwatch.phase("measure"):
                costs = cascade.costs([member.run for member in plan.members], plan.members[0].valid.table.track_id)
            plan = plan._replace(costs=costs)
        run.begin(plan.config, plan.identity, resume=False)
        with run.session():
            build(plan, stopwatch)
    return Built(run, existed=False)


def make_plan(members: list[Member], method: str, output: Path | None, cascade: CascadeOptions | None = None) -> Plan:
    """The configuration, identity and folder of an ensemble.

    Raises:
        RunError: if the validation tracks are of one group.
    """
    if Clusters.of(joined_groups([member.valid for member in members])).count < 2:
        message = (
            f"{members[0].run.folder}: all validation tracks are of one artist; cross-validation needs at least two"
        )
        raise RunError(message, "one_group", members[0].run.folder)
    first = members[0].run
    contents = [member.content for member in members]
    content: dict[str, Any] = {"method": method, "members": contents if cascade else sorted(contents)}
    signature = hashed(content | ({"cascade": cascade.signed()} if cascade else {}))[:12]
    choices = {key: value for key, value in first.identity.choices.items() if key.split("/")[0] == "data"}
    name = f"{str(choices.get('data', 'data')).replace('/', '_')}-ensemble_{method}-{signature}"
    run = Run(output or first.folder.parent / name)
    config = ensemble_config(members, method, choices, run.folder.parent)
    fingerprints = sorted({str(member.run.identity.fingerprint) for member in members})
    identity = Identity(
        signature=signature,
        fingerprint=fingerprints[0] if len(fingerprints) == 1 else hashed(fingerprints)[: len(fingerprints[0])],
        version=__version__,
        code=code_version(config),
        user_code=user_code(config),
        libraries=library_versions(config),
        choices=config["choices"],
        source=first.identity.source,
    )
    return Plan(method, members, member_names(members), config, identity, run, cascade)


def ensemble_config(members: list[Member], method: str, choices: dict[str, str], outputs: Path) -> dict[str, Any]:
    """The content of config.yaml: the data of the first member, and as model the method with the members' signatures."""
    config = members[0].run.config
    features = " + ".join(dict.fromkeys(member.features for member in members))
    signatures = [member.signature for member in members]
    return {
        "data": config["data"],
        "model": {
            "_target_": CASCADE_TARGET if method == CASCADE else TARGET,
            "input": config["model"].get("input", "table"),
            "method": method,
            "members": signatures if method == CASCADE else sorted(signatures),
        },
        "class_weight": "none",
        "evaluate": ["valid"],
        "logger": {"tensorboard": True},
        "seed": 0,
        "paths": {**config["paths"], "outputs": str(outputs)},
        "choices": {**choices, "features": features, "model": f"ensemble: {method} of {len(members)}"},
    }


def build(plan: Plan, stopwatch: Stopwatch) -> None:
    """Copy the members, fit the combination, score it by cross-validation, and record, inside the run's session."""
    run, members = plan.run, plan.members
    with stopwatch.phase("copy"):
        copy_members(plan)
    stack = np.stack([member.valid.probabilities() for member in members])
    valid = members[0].valid
    y_true, groups = valid.y_true(), joined_groups([member.valid for member in members])
    with stopwatch.phase("combine"):
        if plan.cascade is not None and plan.costs is not None:
            fitted = fit_cascade(plan.cascade, plan.names, valid.classes, stack, y_true, groups, plan.costs)
        else:
            fitted = fit_combination(plan, stack, y_true, groups)
    save_combination(run, fitted.combination)
    protocol = protocol_of(plan)
    for line in (*protocol.why, *protocol.cautions.values()):
        log.info("data: %s", line)
    predictions = with_probabilities(valid, fitted.probability, groups)
    with stopwatch.phase("score"):
        scores, pixels = record_predictions(
            run, predictions, checksums(predictions, [member.tracks for member in members]), "valid", plan.outputs
        )
        comparison = compare_members(plan, fitted, stack, groups)
    metrics: dict[str, Any] = {
        "valid": scores,
        "classes": valid.classes,
        "protocol": protocol.as_dict(),
        "ensemble": comparison,
    }
    metrics |= thresholds_of(run) if valid.is_multi else calibration_of(run)
    run.write("metrics.json", metrics)
    parameters = {**hyperparameters(run.settings), "leaky": protocol.leaky}
    Curves(run.folder, tensorboard=True).finish(
        parameters, final_results(metrics), {f"{'tags' if valid.is_multi else 'confusion_matrix'}/valid": pixels}
    )
    run.write("provenance.json", provenance(stopwatch, notes_of(plan, stopwatch)))


def fit_combination(plan: Plan, stack: np.ndarray, y_true: np.ndarray, groups: list[str | None]) -> Fitted:
    """Fit a combination, and cross-fit it and the choice of the best member.

    Args:
        plan: of the ensemble.
        stack: probabilities of the members, (m, n, C).
        y_true: class numbers, (n,).
        groups: of the tracks.
    """
    combination = Combination.fit(plan.method, plan.names, plan.members[0].valid.classes, stack, y_true)
    cross_fitted, best = (cross_fit(method, stack, y_true, groups) for method in (plan.method, BEST))
    records = [{"weight": weight} for weight in combination.weights]
    return Fitted(combination, cross_fitted, "best_member", best, records)


def copy_members(plan: Plan) -> None:
    """Copy the run folders of the members, completely or not at all.

    Raises:
        RunError: if a member has changed since it was read.
    """
    with replacing(plan.run.folder / MEMBERS) as scratch:
        scratch.mkdir()
        for k, member in enumerate(plan.members):
            copy_member(member.run.folder, scratch / str(k))
            if not (scratch / str(k) / "model").is_dir():
                notices.warning("%s: has no model; the ensemble cannot label other tracks", member.run.folder)
            if read_member(scratch / str(k)).content != member.content:
                message = f"{member.run.folder}: was trained or scored again meanwhile; start again"
                raise RunError(message, "run_changed", member.run.folder)


def save_combination(run: Run, combination: Combination | Cascade) -> None:
    """Write model/ensemble.json with its checksum."""
    with replacing(run.folder / "model") as scratch:
        scratch.mkdir()
        write_json(scratch / ENSEMBLE, combination.as_json())
        write_checksums(scratch)


def protocol_of(plan: Plan) -> Protocol:
    """The protocol of the ensemble's own splits."""
    records = [member.run.metrics["protocol"] for member in plan.members]
    return with_other_test_tracks(joined_protocol(plan.names, records), plan.names, plan.members)


def compare_members(plan: Plan, fitted: Fitted, stack: np.ndarray, groups: list[str | None]) -> dict[str, Any]:
    """The `ensemble` section of metrics.json: the scores of the members, and the paired test against one of them.

    Args:
        plan, fitted: the ensemble.
        stack: probabilities of the members, (m, n, C).
        groups: of the tracks.
    """
    valid = plan.members[0].valid
    rows = [fitted.probability, fitted.baseline, *stack]
    y_true, classes = valid.y_true(), len(valid.classes)
    if valid.is_multi:
        sample: Sample = TagSample(y_true, [[row] for row in rows], groups, classes)
    else:
        sample = Sample(y_true, [[row.argmax(1)] for row in rows], groups, classes)
    pairs = {pair.metric: pair for pair in paired_tests(sample, rows=[0, 1])}

    def scores(row: int) -> dict[str, Any]:
        estimates = {metric: sample.estimate(metric, row) for metric in sample.metrics}
        values = {metric: estimate.mean for metric, estimate in estimates.items()}
        return values | {f"{metric}_ci95": [e.low, e.high] for metric, e in estimates.items()}

    record = {
        "method": plan.method,
        "folds": min(FOLDS, sample.clusters.count),
        "over": str(sample.clusters),
        "members": [
            {"name": name, "model": member.model, **of_member, **scores(row)}
            for row, (name, member, of_member) in enumerate(
                zip(plan.names, plan.members, fitted.of_members, strict=True), start=2
            )
        ],
        fitted.baseline_name: scores(1),
        "difference": {
            metric: {"difference": p.difference, "low": p.low, "high": p.high, "p": p.p, "test": p.method}
            for metric, p in pairs.items()
        },
    }
    return record | fitted.record


def notes_of(plan: Plan, stopwatch: Stopwatch) -> dict[str, Any]:
    """What provenance.json records besides versions and hardware. The fit time and the parameters are those of all members."""
    records = [member.run.provenance for member in plan.members]
    parameters = [record.get("model", {}).get("parameters") for record in records]
    fit = sum(record.get("seconds", {}).get("fit", 0.0) for record in records) + stopwatch.seconds["combine"]
    stopwatch.seconds["fit"] = round(fit, 3)
    return {
        "tracks": records[0].get("tracks", {}),
        "notes": [f"combines {', '.join(plan.names)}"],
        "model": {"parameters": sum(parameters)} if all(type(n) is int for n in parameters) else {},
        "members": [str(member.run.folder) for member in plan.members],
    }
