"""The references that a report of runs must cite, as BibTeX: the project, datasets, encoders, models and statistical tests."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from musicreclass.comparison.entries import Entry
from musicreclass.comparison.tables import Table
from musicreclass.comparison.wording import statistical_tests
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.errors import printable
from musicreclass.version import __version__

REFERENCES = Path(__file__).with_name("references.yaml")
COMBINATIONS = "musicreclass.data.combined"
ENSEMBLES = "musicreclass.evaluation.combining"
OWN_DATA = "your own data, so there is no publication to cite; if others published it, cite them"
DRAWN_SPLITS = ("grouped", "random", "folds")
PROJECT = f"""@misc{{musicreclass,
  author = {{{{The musicreclass authors}}}},
  title = {{musicreclass: reproducible, leak-checked music genre classification}},
  year = {{2026}},
  note = {{Version {__version__}}}
}}
"""


class Citations:
    """References with the reasons for them, the user's own data, and what no reference is known for."""

    def __init__(self) -> None:
        self.table: dict[str, dict[str, Any]] = yaml.safe_load(REFERENCES.read_text(encoding="utf-8"))
        self.reasons: defaultdict[str, dict[str, None]] = defaultdict(dict)  # entry -> reasons, in order
        self.unknown: dict[str, None] = {}
        self.own_data: dict[str, None] = {}

    def cite(self, section: str, key: str, reason: str) -> bool:
        """Cite what a key of a section of the table names; return whether the section has the key."""
        names = self.table[section].get(key)
        for name in names or []:
            self.reasons[name][reason] = None
        return names is not None

    def add_run(self, run: Entry) -> None:
        """Cite the datasets, splits, encoders and models of a run and of the members of an ensemble."""
        for settings in (run.settings, *run.members):
            self.add_datasets(settings, run.data)
            for split in run.split.replace("+", " ").split():
                self.cite("splits", split.strip(",;"), f"split {split}")
            has_tags = any(predicted.is_multi for predicted in run.predictions.values())
            if has_tags and run.split in DRAWN_SPLITS:
                self.cite("tags", "drawn", f"split {run.split} of tags")
            for source in settings.features.sources().values():
                self.add_encoder(str(source.target), source.checkpoint)
            self.add_model(settings)

    def add_datasets(self, settings: TrainSettings, name: str) -> None:
        """Cite the dataset of some settings, or the parts of a combination."""
        for part, source in settings.data.sources().items():
            module = module_of(source.target)
            label = f"dataset {part.rpartition('.')[2] if part != 'data' else name}"
            if module in self.table["own_data"]:
                self.own_data[label] = None
            elif module != COMBINATIONS and not self.cite("datasets", module, label):
                self.unknown[label] = None

    def add_encoder(self, target: str, checkpoint: str | None) -> None:
        """Cite an encoder."""
        if not self.cite("encoders", module_of(target), f"features {target.split('.')[-1]}"):
            self.unknown[f"encoder {checkpoint or target}"] = None

    def add_model(self, settings: TrainSettings) -> None:
        """Cite the library or the pretrained network of a model; other networks are the project's or the user's."""
        target = str(settings.model.target)
        reason = f"model {settings.choices.get('model') or target}"
        module = module_of(target)
        method = settings.model.arguments().get("method")
        if module == ENSEMBLES and self.cite("ensembles", str(method), f"ensemble {method}"):
            return
        if not (self.cite("models", module, reason) or self.cite("models", module.split(".")[0], reason)):
            self.cite("encoders", module, reason)
        if settings.model.checkpoint and module not in self.table["encoders"]:
            self.unknown[f"encoder {settings.model.checkpoint}"] = None

    def add_statistics(self, table: Table) -> None:
        """Cite the intervals and tests of a table."""
        self.cite("statistics", "interval", "95 % intervals")
        if any(" group" in size for size in table.sizes.values()):
            self.cite("statistics", "groups", "intervals over groups")
        for test in statistical_tests(table):
            for name in ("McNemar", "permutation", "t test"):
                if test.startswith(name):
                    self.cite("statistics", name, name)
            self.cite("statistics", "Holm", "p adjusted over all pairs")

    def bibtex(self) -> str:
        """The entries, each after a comment with its reasons; what has none first."""
        lines = [f"% {comment(name)}: {OWN_DATA}" for name in self.own_data]
        lines += [f"% {comment(name)}: no reference is known; cite its authors" for name in self.unknown]
        entries = [f"% this software\n{PROJECT}"]
        for name, reasons in self.reasons.items():
            entries.append(f"% {comment(', '.join(reasons))}\n{self.table['entries'][name]}")
        return "\n".join(["\n".join([*lines, ""]) if lines else "", *entries]).lstrip("\n")


def comment(text: str) -> str:
    """Text for a comment; BibTeX would take an @ for the start of an entry, also there."""
    return printable(text).replace("@", "(at)")


def module_of(target: str | None) -> str:
    """The module in a `_target_`: everything before its first capitalised part."""
    parts = str(target).split(".")
    classes = [i for i, part in enumerate(parts) if part[:1].isupper()]
    return ".".join(parts[: classes[0]] if classes else parts[:-1])


def references(runs: list[Entry], tables: list[Table]) -> str:
    """BibTeX of what runs and their tables used."""
    citations = Citations()
    for run in runs:
        citations.add_run(run)
    for table in tables:
        citations.add_statistics(table)
    return citations.bibtex()
