"""What is known of each experiment apart from its runs: experiments/baselines.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from musicreclass.errors import UserError

TOLERANCE = 0.01  # by which a split's size may differ from the published one, as bad clips are left out


@dataclass(frozen=True)
class Published:
    """A figure that somebody else has published.

    Attributes:
        accuracy: percent, on test.
        what: of which model.
        source: where, in Markdown.
    """

    accuracy: float
    what: str
    source: str


@dataclass(frozen=True)
class Baseline:
    """An experiment of conf/experiment.

    Attributes:
        name: its name there.
        protocol: data and split in words.
        seeds: it is run with each.
        sizes: how many tracks each split has where the data is complete; empty where nothing is published.
        classes: how many there are then.
        needs: what must be at hand to run it.
        published: figures to put beside ours.
    """

    name: str
    protocol: str
    seeds: tuple[int, ...]
    sizes: dict[str, int] = field(default_factory=dict)
    classes: int | None = None
    needs: str = "nothing"
    published: tuple[Published, ...] = ()

    @property
    def command(self) -> str:
        """What trains it, all seeds."""
        seeds = ",".join(map(str, self.seeds))
        many = "-m " if len(self.seeds) > 1 else ""
        return f"musicreclass train {many}experiment={self.name}" + ("" if seeds == "0" else f" seed={seeds}")

    def is_whole(self, split: str, tracks: dict[str, int]) -> bool:
        """Whether a score on a split is under the protocol: what was trained on, chosen by and scored on is complete."""
        return all(
            abs(tracks.get(name, 0) - self.sizes[name]) <= TOLERANCE * self.sizes[name]
            for name in ("train", "valid", split)
            if name in self.sizes
        )

    def lacking(self, tracks: dict[str, int]) -> str:
        """Which splits are not complete: `150 of 290 test tracks`; empty if none is."""
        short = [name for name, size in self.sizes.items() if abs(tracks.get(name, 0) - size) > TOLERANCE * size]
        return ", ".join(f"{tracks.get(name, 0):,} of {self.sizes[name]:,} {name} tracks" for name in short)


@dataclass(frozen=True)
class Expectation:
    """What somebody expected of an experiment, in words."""

    what: str
    expected: str
    experiment: str


@dataclass(frozen=True)
class Facts:
    """All of baselines.yaml."""

    baselines: dict[str, Baseline]
    expectations: tuple[Expectation, ...]

    @classmethod
    def load(cls, folder: Path) -> Facts:
        """The facts in a folder of experiments.

        Raises:
            UserError: if the file is not there or says something that cannot be.
        """
        path = folder / "baselines.yaml"
        try:
            found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}); run this in the project's own folder"
            ) from error
        except (ValueError, yaml.YAMLError) as error:
            raise UserError(f"{path}: not YAML ({' '.join(str(error).split())[:120]})") from error
        try:
            baselines = {name: baseline(name, node, found) for name, node in found["experiments"].items()}
            expectations = tuple(Expectation(**node) for node in found["expectations"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: {type(error).__name__}: {error}") from error
        unknown = [e.experiment for e in expectations if e.experiment not in baselines]
        if unknown:
            raise UserError(f"{path}: expectations name {unknown[0]}, which is no experiment")
        return cls(baselines, expectations)


def baseline(name: str, node: dict[str, Any], facts: dict[str, Any]) -> Baseline:
    """One experiment's facts, its protocol and its sources looked up."""
    protocol = facts["protocols"][node["protocol"]]
    published = tuple(
        Published(float(p["accuracy"]), p["what"], facts["sources"][p["source"]]) for p in node.get("published", [])
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
