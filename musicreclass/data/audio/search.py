"""Finds the recordings in a folder and all folders below it, by the suffixes of their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from musicreclass.data.audio.suffixes import SUFFIXES

COMPANIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".txt", ".nfo", ".cue", ".log", ".m3u", ".m3u8", ".pls", ".pdf", ".db", ".ini",
              ".lrc", ".md", ".json", ".csv", ".xml", ".html", ".sfv", ".md5", ".url")  # fmt: skip  # of recordings; not counted
SHOWN = 6  # suffixes that messages name


@dataclass
class Skipped:
    """What a search did not take.

    Attributes:
        refused: folders that may not be read.
        suffixes: number of files by their unknown suffix.
    """

    refused: list[Path] = field(default_factory=list)
    suffixes: Counter[str] = field(default_factory=Counter)

    def unknown_suffixes(self) -> dict[str, int]:
        """The number of files of unknown suffix, by a text that names the most frequent suffixes."""
        names = [suffix or "none" for suffix, _ in self.suffixes.most_common()]
        text = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        return {f"with an unknown suffix ({text})": self.suffixes.total()} if names else {}

    def refusals(self) -> list[str]:
        """A line for each folder that may not be read."""
        return [f"the folder {name} may not be read and was skipped" for name in self.refused]


def is_utf8(name: str) -> bool:
    """Whether a file name is UTF-8. Others, from old disks, cannot be written to tables."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def walk(root: Path, skipped: Skipped) -> Iterator[tuple[Path, list[Path]]]:
    """Folders with their recordings, in sorted order. Links to folders are followed, but each folder is visited once.

    Args:
        root: where to start.
        skipped: takes the folders that may not be read, and counts files of unknown suffix.
    """
    visited: set[tuple[int, int]] = set()
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            stat = folder.stat()
            if (stat.st_dev, stat.st_ino) in visited:
                continue
            visited.add((stat.st_dev, stat.st_ino))
            entries = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
            subfolders = {f for f in entries if f.is_dir()}
        except PermissionError:
            skipped.refused.append(folder)
            continue
        files = [f for f in entries if f not in subfolders]
        yield folder, [f for f in files if f.suffix.lower() in SUFFIXES]
        skipped.suffixes.update(s for f in files if (s := f.suffix.lower()) not in (*SUFFIXES, *COMPANIONS))
        pending += [f for f in reversed(entries) if f in subfolders]
