"""Music libraries for tests, their tables of labels, and what they contain."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from musicreclass.errors import UserError
from musicreclass.prediction.formats import write_csv
from musicreclass.tasks.organize import Options, Organized, organize


def row(path: Path, genre: str, **fields: Any) -> dict[str, Any]:
    """The row that `predict` writes for a file."""
    try:
        status = path.stat()
        version = {"size": status.st_size, "modified": status.st_mtime_ns // 1_000_000}
    except OSError:
        version = {"size": None, "modified": None}
    return {"path": str(path), "genre": genre, "confidence": 0.9, "reason": "", "duration": 12.3, "processing_time": 0.1,
            "error": "", **version, "run": "r", **fields}  # fmt: skip


def write_table(path: Path, genres: dict[Path, str]) -> Path:
    """A table of labels."""
    write_csv(path, [row(file, genre) for file, genre in genres.items()])
    return path


def contents(*folders: Path) -> Counter[str]:
    """The multiset of the contents of all regular files, without the journals."""
    files = [path for folder in folders for path in folder.rglob("*") if not path.name.startswith(".musicreclass")]
    return Counter(sha256(path.read_bytes()).hexdigest() for path in files if stat.S_ISREG(path.lstat().st_mode))


def snapshot(folder: Path) -> dict[str, Any]:
    """Everything below a folder: contents, permissions, times and links, by relative path."""
    tree: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        name = os.fsdecode(os.path.relpath(path, folder))
        if stat.S_ISLNK(status.st_mode):
            tree[name] = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            tree[name] = (sha256(path.read_bytes()).hexdigest(), stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        else:
            tree[name] = stat.S_IFMT(status.st_mode)
    return tree


def names(folder: Path) -> list[str]:
    """Relative paths of all files and links below a folder, without the journal."""
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return sorted(str(path.relative_to(folder)) for path in paths if not path.name.startswith(".musicreclass"))


def kind_of_error(work: Callable[[], object]) -> str:
    """The kind of the `UserError` that a task raises; empty if it raises none."""
    try:
        work()
    except UserError as error:
        return error.kind
    return ""


def sort_into(table: Path, mode: str, root: Path, **options: Any) -> Organized:
    """`organize TABLE --mode MODE --to ROOT --yes`."""
    return organize(table, Options(mode, root, confirmed=True, **options))
