"""experiments/baselines.yaml: seeds, protocols, requirements and published scores of each experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from musicreclass.errors import UserError

SIZE_TOLERANCE = 0.01  # relative; unreadable clips are dropped, so complete data may have a few tracks less


@dataclass(frozen=True)
class PublishedScore:
    """A score from a publication, in percent, on test.

    Attributes:
        what: the model.
        source: a reference, in Markdown.
        accuracy: None for tags.
        roc_auc, pr_auc: macro averages over tags; None for classes.
    """

    what: str
    source: str
    accuracy: float | None = None
    roc_auc: float | None = None
    pr_auc: float | None = None

    def __str__(self) -> str:
        if self.accuracy is not None:
            return f"{self.accuracy:.1f}"
        areas = (("ROC-AUC", self.roc_auc), ("PR-AUC", self.pr_auc))
        return ", ".join(f"{name} {value:.1f}" for name, value in areas if value is not None)


@dataclass(frozen=True)
class Baseline:
    """An experiment of conf/experiment.

    Attributes:
        name: of its file.
        protocol: data and split, in words.
        seeds: a run each.
        sizes: the number of tracks per split of the complete data; empty if there is no published number.
        classes: the number of classes of the complete data.
        needs: data, weights and hardware that it requires.
        published: scores to compare with.
    """

    name: str
    protocol: str
    seeds: tuple[int, ...]
    sizes: dict[str, int] = field(default_factory=dict)
    classes: int | None = None
    needs: str = "nothing"
    published: tuple[PublishedScore, ...] = ()

    @property
    def command(self) -> str:
        """The command that trains all seeds."""
        seeds = ",".join(map(str, self.seeds))
        multirun = "-m " if len(self.seeds) > 1 else ""
        return f"musicreclass train {multirun}experiment={self.name}" + ("" if seeds == "0" else f" seed={seeds}")

    def is_complete(self, split: str, tracks: dict[str, int]) -> bool:
        """Whether the data behind a score is complete: the training, validation and scored splits.

        Args:
            split: the scored split.
            tracks: the number of tracks per split.
        """
        return all(self._has_published_size(name, tracks) for name in ("train", "valid", split) if name in self.sizes)

    def missing_data(self, tracks: dict[str, int]) -> str:
        """The incomplete splits: `150 of 290 test tracks`; empty if all are complete."""
        incomplete = [name for name in self.sizes if not self._has_published_size(name, tracks)]
        return ", ".join(f"{tracks.get(name, 0):,} of {self.sizes[name]:,} {name} tracks" for name in incomplete)

    def _has_published_size(self, split: str, tracks: dict[str, int]) -> bool:
        size = self.sizes[split]
        return abs(tracks.get(split, 0) - size) <= SIZE_TOLERANCE * size


@dataclass(frozen=True)
class Expectation:
    """The accuracy that was expected of an experiment before it was run."""

    what: str
    expected: str
    experiment: str


@dataclass(frozen=True)
class Catalog:
    """The contents of baselines.yaml: experiments by name, and expectations."""

    baselines: dict[str, Baseline]
    expectations: tuple[Expectation, ...]

    @classmethod
    def load(cls, folder: Path) -> Catalog:
        """Read the catalog of a folder of experiments.

        Raises:
            UserError: if the file is missing or invalid.
        """
        path = folder / "baselines.yaml"
        try:
            content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            message = f"{path}: cannot be read ({error.strerror}); run this in the root of the repository"
            raise UserError(message, "unreadable", path) from error
        except (ValueError, yaml.YAMLError) as error:
            raise UserError(f"{path}: not YAML ({' '.join(str(error).split())[:120]})", "not_yaml", path) from error
        try:
            baselines = {name: read_baseline(name, node, content) for name, node in content["experiments"].items()}
            expectations = tuple(Expectation(**node) for node in content["expectations"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: {type(error).__name__}: {error}", "invalid_catalog", path) from error
        unknown = [e.experiment for e in expectations if e.experiment not in baselines]
        if unknown:
            raise UserError(f"{path}: expectations: unknown experiment {unknown[0]}", "unknown_experiment", unknown[0])
        return cls(baselines, expectations)


def read_baseline(name: str, node: dict[str, Any], content: dict[str, Any]) -> Baseline:
    """Read one experiment.

    Args:
        name: of the experiment.
        node: its entry.
        content: the whole file, with protocols and sources.
    """
    protocol = content["protocols"][node["protocol"]]
    published = tuple(
        PublishedScore(**{**score, "source": content["sources"][score["source"]]})
        for score in node.get("published", [])
    )
    return Baseline(
        name,
        protocol["what"],
        tuple(node["seeds"]),
        protocol.get("tracks", {}),
        protocol.get("classes"),
        node.get("needs", "nothing"),
        published,
    )
