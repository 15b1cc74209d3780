"""Features of many small files, one for each track: read once into the store, block by block, so that an interruption is resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from musicreclass.data.parallel import show_progress
from musicreclass.storage.atomic import replacing
from musicreclass.storage.store import Store
from musicreclass.storage.versions import files_digest

Block = list[tuple[str, Path]]


def load_blocks(
    kind: str,
    form: str,
    paths: dict[str, Path],
    read: Callable[[Block], pd.DataFrame],
    store: Store,
    version: int,
    size: int,
) -> pd.DataFrame:
    """A row of features for each file.

    Args:
        kind: of the entry in the store.
        form: of the files, for the progress, such as `HDF5`.
        paths: a file for each track id.
        read: returns the rows of some files, indexed by track id.
        store: keeps the rows.
        version: of the values; other values need another one.
        size: number of files in a block, after which an interrupted reading is resumed.
    """
    items = list(paths.items())
    blocks = [items[i : i + size] for i in range(0, len(items), size)]

    def build(folder: Path) -> None:
        with show_progress(f"reading {len(items):,} {form} files, once", len(items)) as advance:
            for number, block in enumerate(blocks):
                file = folder / f"{number:06d}.parquet"
                if not file.exists():
                    with replacing(file) as scratch:
                        read(block).to_parquet(scratch)
                advance(len(block))

    key = {"files": files_digest(paths.values()), "tracks": len(paths), "version": version}
    entry = store.entry(kind, key, build, is_resumable=lambda folder: any(folder.glob("*.parquet")))
    return pd.concat([pd.read_parquet(file) for file in sorted(entry.glob("*.parquet"))])
