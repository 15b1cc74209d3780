"""The target folder: which names are taken in it, by files that exist and by those that the plan puts there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from musicreclass.errors import DataError
from musicreclass.library.locations import Locations, label_at
from musicreclass.library.names import fold, safe_name
from musicreclass.library.transfer import is_same_entry, same_content


class TargetFolder:
    """The names in a target folder and its genre folders.

    Args:
        root: the folder, resolved; need not exist.
        locations: of the recordings in it.
    """

    def __init__(self, root: Path, locations: Locations) -> None:
        self.root, self.locations = root, locations
        self.device = device_of(root)
        self._taken: dict[Path, dict[str, str]] = {}  # by folder: folded name to name
        self._claimed: dict[Path, Path] = {}  # the source of each target of the plan

    def name_folders(self, genres: Iterable[str]) -> dict[str, str]:
        """The folder of each genre. Genres that differ only in case or in replaced characters share one.

        Raises:
            DataError: if a link or a file has the name of a folder.
        """
        folders = dict(self.names(self.root))
        by_genre = {}
        for genre in sorted(genres):
            name = safe_name(genre)
            name = folders.setdefault(fold(name), name)
            path = self.root / name
            if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
                line = f"{path}: is {'a link' if path.is_symlink() else 'no folder'}; rename it or choose another --to"
                raise DataError(line, "foreign_output", path)
            by_genre[genre] = name
        return by_genre

    def names(self, folder: Path) -> dict[str, str]:
        """Names that are taken in a folder, by their folded form."""
        if folder not in self._taken:
            try:
                self._taken[folder] = {fold(name): name for name in sorted(os.listdir(folder), reverse=True)}
            except FileNotFoundError:
                self._taken[folder] = {}
        return self._taken[folder]

    def claim(self, target: Path, source: Path) -> None:
        """Note that a target holds a source, or will after the run."""
        self.names(target.parent)[fold(target.name)] = target.name
        self._claimed[target] = source

    def is_free(self, target: Path, source: Path, mode: str) -> bool:
        """Whether a target does not exist, or is made from this source."""
        if fold(target.name) not in self.names(target.parent) or self.locations.of(source, label_at(source)) == target:
            return True
        return self.belongs_to(target, source, mode)

    def belongs_to(self, target: Path, source: Path, mode: str) -> bool:
        """Whether a target will hold a source after the run, or does already."""
        return self._claimed.get(target) == source or self.holds(target, source, mode)

    def holds(self, target: Path, source: Path, action: str) -> bool:
        """Whether a target that exists has the content of a source already."""
        if target in self._claimed:
            return False
        try:
            if is_same_entry(target, source):
                return True
            if action == "link":
                return target.is_symlink() and os.path.samefile(target, source)
            return not target.is_symlink() and target.is_file() and same_content(source, target)
        except OSError:
            return False


def device_of(path: Path) -> int:
    """The file system that a path is or will be on."""
    while not os.path.exists(path):
        path = path.parent
    return path.stat().st_dev
