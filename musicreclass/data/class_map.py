"""Class maps over targets and probabilities: from the classes of one dataset to those of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.config.class_maps import KEY, class_map_names, find_class_map, read_mapping
from musicreclass.config.locations import CONF
from musicreclass.config.messages import FEW
from musicreclass.data.names import class_key
from musicreclass.errors import DataError


@dataclass(frozen=True)
class ClassMap:
    """From source classes to target classes. Names are compared in their normal form (`names.class_key`).

    Attributes:
        name: of the map, for messages.
        classes: the target class of each source class; None leaves its tracks out.

    Raises:
        DataError: if two source classes are equal in their normal form, or a name stands for a missing label.
    """

    name: str
    classes: dict[str, str | None]

    def __post_init__(self) -> None:
        keys = [class_key(source) for source in self.classes]
        names = [*self.classes, *(target for target in self.classes.values() if target is not None)]
        for name in names:
            if class_key(name) is None:
                line = f"{self.name}: {name!r} stands for a missing label; write null to leave tracks out"
                raise DataError(line, "invalid_class_map", self.name, name)
        repeated = [source for i, source in enumerate(self.classes) if keys[i] in keys[:i]]
        if repeated:
            line = f"{self.name}: the class {repeated[0]!r} is there twice, in another spelling"
            raise DataError(line, "invalid_class_map", self.name, repeated[0])

    def targets_of(self, sources: Sequence[str]) -> list[str | None]:
        """The target class of each source class; None if its tracks are left out.

        Raises:
            DataError: if the map does not name a class.
        """
        by_key = {class_key(source): target for source, target in self.classes.items()}
        missing = [source for source in sources if class_key(source) not in by_key]
        if missing:
            shown = ", ".join(map(repr, missing[:FEW])) + (", ..." if len(missing) > FEW else "")
            line = f"{self.name}: the class map does not name {len(missing)} of the data's classes: {shown}"
            remedy = "add them to a copy of the map (CLASS: null leaves the tracks out) and name its file"
            raise DataError(f"{line}; {remedy}", "unmapped_classes", KEY, missing)
        return [by_key[class_key(source)] for source in sources]

    def names_all(self, sources: Sequence[str]) -> bool:
        """Whether the map names every one of some classes."""
        return {class_key(source) for source in sources} <= {class_key(source) for source in self.classes}

    def map_targets(self, targets: pd.Series[Any]) -> pd.Series[Any]:
        """Class names as target classes.

        Args:
            targets: class names; None, NaN or a placeholder for a missing label.

        Returns:
            the target classes, of dtype object; None for labels that are missing or left out.

        Raises:
            DataError: if the map does not name a class.
        """
        labels = [name for name in targets.dropna().unique() if class_key(str(name)) is not None]
        mapped = dict(zip(labels, self.targets_of(labels), strict=True))
        values = targets.map(mapped).astype(object)
        return values.where(values.notna(), None)

    def map_probabilities(
        self, probability: np.ndarray, classes: Sequence[str]
    ) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Class probabilities as those of the target classes: the sums over the source classes of each.

        Args:
            probability: (n, C), each row sums to 1.
            classes: the C source classes.

        Returns:
            the probabilities of the target classes (n, C'), which do not include what is left out; the C' target classes, sorted; the
            probability of the classes that are left out (n,). The sums of each row and what is left out is 1.

        Raises:
            DataError: if the map does not name a class.
        """
        targets = self.targets_of(classes)
        names = sorted({target for target in targets if target is not None})
        sums = np.zeros((len(classes), len(names) + 1))
        for i, target in enumerate(targets):
            sums[i, len(names) if target is None else names.index(target)] = 1
        mapped = np.asarray(probability, np.float64) @ sums
        return mapped[:, :-1], names, mapped[:, -1]


def read_class_map(name_or_path: str, config_dir: str | Path | None = None, key: str = KEY) -> ClassMap:
    """Read a class map.

    Args:
        name_or_path: a name in `class_map/` of the user's or this project's configuration folder, or the path of a YAML file.
        config_dir: the user's configuration folder.
        key: of the setting that names it, for messages.

    Raises:
        ConfigError: if it does not exist, or is not a class map.
        DataError: if its names are not unique in their normal form.
    """
    roots = [*([Path(config_dir).expanduser()] if config_dir is not None else []), CONF]
    path = find_class_map(name_or_path, roots, key)
    return ClassMap(path.stem if path.parent == CONF / "class_map" else str(path), read_mapping(path))


def fitting_class_map(sources: Sequence[str], targets: Sequence[str]) -> str:
    """The name of the map of this project that names all source classes, and maps them to some of the target classes and no others;
    empty if there is none."""
    for name in class_map_names():
        class_map = read_class_map(name)
        if class_map.names_all(sources):
            mapped = {target for target in class_map.targets_of(sources) if target is not None}
            if mapped and mapped <= set(targets):
                return name
    return ""


def nothing_mapped(class_map: ClassMap) -> DataError:
    """The error for a class map that leaves every track out."""
    line = f"data.class_map={class_map.name}: leaves out every track; choose another class map"
    return DataError(line, "no_tracks", "data.class_map", class_map.name)
