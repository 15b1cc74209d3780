"""One's own library: a folder with a folder of recordings for each genre."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import soundfile

from musicreclass.data.audio.decoding import DECODED
from musicreclass.data.audio.ffmpeg import CONVERTED
from musicreclass.data.recordings import AudioData, Recordings
from musicreclass.errors import DatasetNotFoundError

SUFFIXES = (*DECODED, *CONVERTED)


class GenreFolders(AudioData):
    """`<root>/<genre>/**/<recording>`; hidden files and folders are passed over.

    Args:
        root: the folder.
        split: `grouped` by artist, or `random`.
        group_by: what tells the artist: `folder`, the one below the genre (`rock/Nirvana/...`); `tag`, the artist in
            the file's own tags; `auto`, the folder where there is one, else the tag; `none`.
        options: as in `AudioData`.
    """

    def __init__(self, root: str | None, split: dict[str, Any], group_by: str = "auto", **options: Any) -> None:
        super().__init__(split, **options)
        self.root = root
        self.group_by = group_by

    def find(self) -> Recordings:
        """Every recording below a genre's folder.

        Raises:
            DatasetNotFoundError: if there is no such folder, or none in it with recordings.
        """
        if self.root is None or not Path(self.root).expanduser().is_dir():
            raise DatasetNotFoundError(
                f"data.root={self.root}: no such folder; name one that holds a folder for each genre"
            )
        root = Path(self.root).expanduser()
        genres = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
        paths: list[Path] = []
        targets: list[str] = []
        groups: list[str | None] = []
        folders, empty = [root], []
        foreign = 0
        for genre in genres:
            before = len(paths)
            for folder, files in walk(genre):
                folders.append(folder)
                for file in files:
                    if not is_text(str(file)):
                        foreign += 1
                        continue
                    paths.append(file)
                    targets.append(genre.name.strip() or "(blank)")
                    groups.append(self._artist(file, genre))
            if len(paths) == before:
                empty.append(ascii(genre.name) if not is_text(genre.name) else genre.name)
        names = [genre.name.strip() for genre in genres if is_text(genre.name)]
        notes = [f"the folder {name} holds no recording" for name in empty]
        notes += [
            f"folders that differ by blanks alone are one genre: {n}"
            for n in sorted({n for n in names if names.count(n) > 1})
        ]
        if not paths:
            raise DatasetNotFoundError(
                f"{root}: no recordings; it must hold a folder for each genre, and those {', '.join(SUFFIXES)} files"
            )
        return Recordings(
            paths=paths,
            track_id=[path.relative_to(root).as_posix() for path in paths],
            target=targets,
            known={"group": groups},
            folders=folders,
            dropped={"whose name is not UTF-8": foreign} if foreign else {},
            notes=notes,
        )

    def _artist(self, file: Path, genre: Path) -> str | None:
        """The artist, in small letters; None where it is not known."""
        inside = file.relative_to(genre).parts
        if self.group_by in ("folder", "auto") and len(inside) > 1:
            return inside[0].casefold()
        if self.group_by not in ("tag", "auto"):
            return None
        try:
            with soundfile.SoundFile(os.fsencode(file)) as sound:
                return str(sound.artist).strip().casefold() or None
        except (soundfile.LibsndfileError, OSError):
            return None  # what is wrong with it will be said when it is looked at


def is_text(name: str) -> bool:
    """Whether a name is UTF-8; others, from old disks, cannot be written into tables."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def walk(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Folders with their recordings, in order; links to folders are followed, each folder once."""
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        stat = folder.stat()
        if (stat.st_dev, stat.st_ino) in seen:
            continue
        seen.add((stat.st_dev, stat.st_ino))
        inside = sorted(f for f in folder.iterdir() if not f.name.startswith("."))
        yield (
            folder,
            [
                f
                for f in inside
                if f.suffix.lower() in SUFFIXES and (f.is_file() or (f.is_symlink() and not f.is_dir()))
            ],
        )
        waiting += [f for f in reversed(inside) if f.is_dir()]
