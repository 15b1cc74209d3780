"""Reading a run folder. Files that are missing, damaged or of a newer format raise errors that name them."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from musicreclass.config.parse import parse
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.errors import ConfigError, RunError
from musicreclass.runs.code_version import code_version, has_changed, libraries_have_changed, user_code
from musicreclass.runs.identity import Identity
from musicreclass.runs.records import record_problem
from musicreclass.storage.regular import read_regular_text
from musicreclass.version import __version__

if TYPE_CHECKING:
    from typing_extensions import Self

    from musicreclass.classifiers.base import Classifier
    from musicreclass.evaluation.cascade import Cascade
    from musicreclass.evaluation.combining import Combination
    from musicreclass.evaluation.predictions import Predictions

FORMAT = 1  # of run folders; goes up when older versions of this package would misread a new folder
STATES = ("running", "interrupted", "done", "failed", "pruned")
SIGNATURE = re.compile(r"[0-9a-f]{12}")
CHECKPOINTS = ("last.ckpt", "rounds.bin")  # in `checkpoints`, of a network and of boosting
COST = "cost.json"  # seconds and memory of a run that is not done
MEMBERS = "members"  # folder of the runs that an ensemble combines: members/0, members/1, ...
ENSEMBLE = "ensemble.json"  # in `model`, of an ensemble
MAX_VALUES = 30_000  # of a configuration; real ones have a few hundred, and thousands of column names at most
CONFIG_TYPES = {
    "paths": dict,
    "data": dict,
    "model": dict,
    "choices": dict,
    "seed": int,
}  # what every run's config.yaml has


class RunFiles:
    """The files of a run folder, to read.

    Args:
        folder: the run folder; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A run folder that exists.

        Raises:
            RunError: if the folder has no run, or one of a newer format.
        """
        if not folder.is_dir():
            raise RunError(f"{folder}: there is no such folder", "missing_folder", folder)
        if not (folder / "status.json").is_file():
            raise RunError(f"{folder}: not a run folder (it has no status.json)", "not_a_run", folder)
        run = cls(folder)
        _ = run.identity
        return run

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration.

        Raises:
            RunError: if config.yaml cannot be read, lacks a section that every run has, or is of a newer format.
        """
        _ = self.identity
        path = self.folder / "config.yaml"
        try:
            text = read_regular_text(path)
            if text.count(",") + text.count("\n") > MAX_VALUES:  # parsing them takes long
                raise unreadable(path, f"contains more than {MAX_VALUES:,} values")
            config = yaml.safe_load(text)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise unreadable(path, error) from error
        if not isinstance(config, dict):
            raise unreadable(path, "not a configuration")
        if count_values(config, {}) > MAX_VALUES:
            raise unreadable(path, f"contains more than {MAX_VALUES:,} values")
        for name, kind in CONFIG_TYPES.items():
            if not isinstance(config.get(name), kind):
                raise unreadable(path, f"{name} is missing or invalid")
        return config

    @property
    def identity(self) -> Identity:
        """Signature, fingerprint, code version; without them if not written yet.

        Raises:
            RunError: if the file is damaged, or of a newer format than this version of the package reads.
        """
        path = self.folder / "identity.json"
        try:
            identity = Identity.from_json(self._read_json(path.name))
        except TypeError as error:
            raise unreadable(path, error) from error
        written = identity.format
        if not isinstance(written, int):
            raise unreadable(path, f"format is {written!r}")
        if written > FORMAT:
            writer, reader = f"musicreclass {identity.version}", f"musicreclass {__version__}"
            message = f"written in run format {written} by {writer}, but {reader} reads formats up to {FORMAT}"
            remedy = "upgrade musicreclass, or use another folder"
            raise RunError(f"{self.folder}: {message}; {remedy}", "newer_format", self.folder, written)
        return identity

    @property
    def has_identity(self) -> bool:
        """Whether identity.json is one that a run has written."""
        content = self._read_json("identity.json")
        signature = content.get("signature")
        is_signed = isinstance(signature, str) and SIGNATURE.fullmatch(signature) is not None
        return isinstance(content.get("format"), int) and (is_signed or content.get("cleared") is True)

    @property
    def status(self) -> dict[str, Any]:
        """State, error, host, pid, heartbeat."""
        return self._read_json("status.json")

    @property
    def state(self) -> str:
        """`running`, `interrupted`, `done`, `failed`, `pruned` (stopped by a search), or `absent`."""
        return str(self.status.get("state", "absent"))

    def require_done(self, purpose: str) -> None:
        """Make sure that the run is finished.

        Args:
            purpose: what only finished runs can be, as `exported`.

        Raises:
            RunError: if it is not.
        """
        if self.state != "done":
            state = {"failed": "failed", "pruned": "was pruned"}.get(self.state, f"is {self.state}")
            line = f"{self.folder}: the run {state}; only finished runs can be {purpose}: repeat the command that trains it"
            raise RunError(line, "unfinished_run", self.folder, self.state)

    @property
    def metrics(self) -> dict[str, Any]:
        """The scores by split, the classes and the protocol."""
        return self._read_json("metrics.json")

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, hardware, command, seconds, memory."""
        return self._read_json("provenance.json")

    @property
    def cost(self) -> dict[str, Any]:
        """Seconds and memory of the earlier sessions of a run that is not done; empty if the record is missing or damaged."""
        try:
            return self._read_json(COST)
        except RunError:
            return {}

    @property
    def has_checkpoint(self) -> bool:
        """Whether a fit can resume from a checkpoint."""
        return any((self.folder / "checkpoints" / name).is_file() for name in CHECKPOINTS)

    @property
    def settings(self) -> TrainSettings:
        """The checked settings.

        Raises:
            RunError: if config.yaml cannot be read, or is not a configuration of this version.
        """
        try:
            settings = parse("train", self.config)
        except ConfigError as error:
            line = f"{self.folder}/config.yaml: not a configuration of this version: {error.problems[0]}"
            raise RunError(line, "unusable_config", self.folder) from error
        assert isinstance(settings, TrainSettings)
        return settings

    @property
    def is_stale(self) -> bool:
        """Whether the code that results depend on has changed since the run began, installed libraries included."""
        if any(member.is_stale for member in self.members):
            return True
        identity = self.identity
        config = self.config
        code_differs = identity.code != code_version(config) or has_changed(identity.user_code, config)
        return code_differs or libraries_have_changed(identity.libraries, config)

    @property
    def is_imported(self) -> bool:
        """Whether the model is weights that were trained elsewhere: the run has no data and no scores of its own."""
        return "imported" in self.provenance

    @property
    def lacks_code(self) -> bool:
        """Whether the user's code is not found from here, so that `is_stale` cannot detect a change of it."""
        lacks = bool(self.identity.user_code) and not user_code(self.config)
        return lacks or any(member.lacks_code for member in self.members)

    @property
    def is_selected_on_valid(self) -> bool:
        """Whether the epoch or round of the model was chosen on the validation tracks, so that their score is optimistic.

        Of an ensemble: that of any member.
        """
        by_member = any(member.is_selected_on_valid for member in self.members)
        return by_member or is_selected_on_valid(self.config, self.provenance)

    @property
    def combination(self) -> Combination | Cascade | None:
        """How an ensemble combines its members; None for an ordinary run.

        Raises:
            RunError: if the file is damaged.
        """
        path = self.folder / "model" / ENSEMBLE
        if not os.path.lexists(path):
            return None
        from musicreclass.classifiers.model_folder import reading, verify_checksums
        from musicreclass.evaluation.cascade import read_combination

        verify_checksums(path.parent)
        with reading(path):
            return read_combination(json.loads(read_regular_text(path)))

    @property
    def members(self) -> list[Self]:
        """The runs that an ensemble combines, in the order of `combination.members`; empty for an ordinary run.

        Raises:
            RunError: if one is missing or damaged, is a link, or is an ensemble itself.
        """
        combination = self.combination
        if combination is None:
            return []
        folders = [self.folder / MEMBERS / str(k) for k in range(len(combination.members))]
        for path in (self.folder / MEMBERS, *folders):
            if path.is_symlink():
                raise RunError(
                    f"{path}: is a link; the members of an ensemble are folders inside it", "link_in_run", path
                )
        members = [type(self).open(path) for path in folders]
        for member in members:
            if os.path.lexists(member.folder / "model" / ENSEMBLE):
                message = f"{member.folder}: is an ensemble; an ensemble of ensembles is not supported"
                raise RunError(message, "nested_ensemble", member.folder)
        return members

    def predictions(self, split: str) -> Predictions:
        """The predictions on one split.

        Raises:
            RunError: if the split was not scored, or the file is damaged.
        """
        from musicreclass.evaluation.predictions import Predictions

        return Predictions.load(self.folder / "predictions" / f"{split}.parquet")

    def classifier(self, trust: tuple[str, ...] = ()) -> Classifier:
        """The fitted model. No code from the folder is executed.

        Args:
            trust: modules of your own that the model may be made from.

        Raises:
            RunError: if the model is missing, damaged, or needs code that is not trusted; or if the run is an ensemble.
        """
        if self.combination is not None:
            message = (
                f"{self.folder}: is an ensemble, with a model in each of its folders {MEMBERS}/0, {MEMBERS}/1, ..."
            )
            raise RunError(message, "ensemble", self.folder)
        from musicreclass.classifiers.factory import load

        return load(self.folder / "model", trust)

    def _read_json(self, name: str) -> dict[str, Any]:
        """The content of a JSON file; empty if there is no such file."""
        path = self.folder / name
        try:
            content = json.loads(read_regular_text(path))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise unreadable(path, error) from error
        if not isinstance(content, dict):
            raise unreadable(path, "not a JSON object")
        if problem := record_problem(name, content):
            raise unreadable(path, problem)
        return content


def is_selected_on_valid(config: dict[str, Any], provenance: dict[str, Any]) -> bool:
    """Whether the epoch or round of a model was chosen on the validation tracks.

    Args:
        config, provenance: of its run.
    """
    fit = provenance.get("model")
    if not isinstance(fit, dict):
        return False
    by_round = "best_round" in fit and config["model"].get("early_stopping_rounds") is not None
    trainer = config.get("trainer") or {}
    return by_round or ("best_epoch" in fit and str(trainer.get("monitor", "valid")).startswith("valid"))


def count_values(node: Any, counts: dict[int, float]) -> float:
    """How many values a node has if YAML's aliases are written out; infinite if it contains itself.

    Args:
        node: a value, list or dictionary.
        counts: of the nodes that were counted, by `id`.
    """
    if not isinstance(node, (list, dict)):
        return 1
    if id(node) not in counts:
        counts[id(node)] = math.inf  # while it is counted
        counts[id(node)] = 1 + sum(count_values(v, counts) for v in (node.values() if isinstance(node, dict) else node))
    return counts[id(node)]


def unreadable(path: Path, cause: Exception | str) -> RunError:
    """The error for a file of a run folder that is damaged or cannot be read."""
    if isinstance(cause, OSError):
        message = f"cannot be read ({cause.strerror})"
    else:
        message = f"damaged ({' '.join(str(cause).split())[:120]}); choose another folder, or remove this one if it is a run's"
    return RunError(f"{path}: {message}", "unreadable", path)
