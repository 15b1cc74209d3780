"""The folder of a published dataset: where it is read from, and where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from musicreclass.errors import DatasetNotFoundError


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


def is_missing(find: Callable[[], object]) -> bool:
    """Whether a search for a part of a dataset fails.

    Raises:
        DatasetNotFoundError: if no folder is configured at all.
    """
    try:
        find()
    except DatasetNotFoundError as error:
        if error.kind == "missing_root":
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
