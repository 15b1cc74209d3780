"""The folder of a published dataset: where it is read from, and where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from musicreclass.errors import DatasetNotFoundError

WRONG_ROOT = "wrong_root"  # kind of the error for a folder too high or too deep
MAX_FOLDERS = 300  # that are searched for a dataset


def dataset_root(root: str | None, name: str) -> Path:
    """The folder of a dataset.

    Raises:
        DatasetNotFoundError: if none is configured.
    """
    if root is None:
        raise DatasetNotFoundError(
            f"{name}: set data.root=DIR to its folder, or MUSICRECLASS_DATA to a folder that contains {name}/",
            kind="missing_root",
            key="data.root",
        )
    return Path(root).expanduser()


def below(base: Path, relative: str) -> Path:
    """A path below a folder; where no part of that name exists, one that differs only in case is used."""
    path = base
    for name in Path(relative).parts:
        exact = path / name
        if not exact.exists() and path.is_dir():
            exact = next((p for p in sorted(path.iterdir()) if p.name.casefold() == name.casefold()), exact)
        path = exact
    return path


def contents(folder: Path, limit: int = 4) -> str:
    """What a folder contains instead of a dataset, for messages."""
    if not folder.is_dir():
        return "it is no folder" if folder.exists() else "it does not exist"
    names = sorted(path.name for path in islice(folder.iterdir(), 1000) if not path.name.startswith("."))
    return f"it contains {', '.join(names[:limit])}{', ...' if len(names) > limit else ''}" if names else "it is empty"


def wrong_root(base: Path, name: str, contains: Callable[[Path], bool]) -> DatasetNotFoundError | None:
    """The error for a folder that contains a dataset one or two levels deeper, or is inside it; None if it does not.

    Args:
        base: the folder.
        name: of the dataset.
        contains: whether a folder is the dataset's, in one of its layouts.
    """
    if not base.is_dir():
        return None
    below = islice(_subfolders(base), MAX_FOLDERS)
    above = [base.absolute().parent, base.absolute().parent.parent]
    folder = next((f for f in (*below, *above) if contains(f)), None)
    if folder is None:
        return None
    line = f"{name}: not found in {base}, but in {folder}; set data.root={folder}"
    return DatasetNotFoundError(line, WRONG_ROOT, base, suggestion=f"data.root={folder}")


def _subfolders(base: Path) -> Iterator[Path]:
    """The folders in a folder, and those in them."""
    with suppress(OSError):
        folders = sorted(f for f in base.iterdir() if not f.name.startswith(".") and f.is_dir())
        yield from folders
        for folder in folders:
            with suppress(OSError):
                yield from sorted(f for f in folder.iterdir() if not f.name.startswith(".") and f.is_dir())


def is_absent(find: Callable[[], object]) -> bool:
    """Whether a search for a part of a dataset fails.

    Raises:
        DatasetNotFoundError: if no folder is configured at all, or the part is near the configured one.
    """
    try:
        find()
    except DatasetNotFoundError as error:
        if error.kind in ("missing_root", WRONG_ROOT):
            raise
        return True
    return False


def install_folder(root: str | None, common: str | None, name: str) -> Path:
    """The folder that a dataset is installed into: `name` below a folder of several datasets, otherwise the folder itself.

    Args:
        root: the source's `root`.
        common: `paths.data`, the folder of all datasets.
        name: of the dataset's folder, such as `FMA`.

    Raises:
        DatasetNotFoundError: if no folder is configured.
    """
    folder = dataset_root(root, name)
    if (folder / name).is_dir() or (root == common and folder.name != name):
        return folder / name
    return folder
