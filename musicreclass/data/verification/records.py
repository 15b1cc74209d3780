"""Verifications in the store: `verification.parquet` and `summary.txt` in a folder for each set of files, recognised by their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from musicreclass.data.verification import fingerprint, index
from musicreclass.storage.atomic import remove, replacing, write_json
from musicreclass.storage.store import Store, common_folder, mark_used

KIND = "verification"  # in the store
TABLE, SUMMARY = "verification.parquet", "summary.txt"
VERSION = 1  # of the table


def content_key(checksums: Iterable[str | None]) -> str:
    """The key of the verification of files: a hash of their contents, in any order."""
    versions = f"{VERSION} {fingerprint.VERSION} {index.VERSION}"
    text = "\n".join([versions, *sorted(checksum or "" for checksum in checksums)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def save_table(table: pd.DataFrame, store: Store, name: str) -> Path:
    """Write the table of a verification.

    Args:
        table: from `verify`.
        store: the store.
        name: of the dataset, for the name of the folder.

    Returns:
        the folder.
    """
    key = content_key(table.checksum)
    folder = store.root / KIND / f"{name}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    entry = {"key": {"files": key, "count": len(table)}, "files": {}, "source": common_folder(table.path)}
    write_json(folder / "entry.json", entry)
    with replacing(folder / TABLE) as scratch:
        table.to_parquet(scratch, index=False)
    remove(store.root / "fingerprints")  # of runs; training with these files must see what was verified
    return folder


def near_groups(store: Store, checksums: list[str | None]) -> dict[str, str] | None:
    """The groups of near-copies among files, from their verification.

    Args:
        store: the store.
        checksums: of all files.

    Returns:
        the group by checksum, of files in one only; None if exactly these files were not verified.
    """
    key = content_key(checksums)
    for folder in sorted((store.root / KIND).glob(f"*-{key}")):
        with suppress(OSError, ValueError, KeyError):
            table = pd.read_parquet(folder / TABLE, columns=["checksum", "near_group"]).dropna()
            mark_used(folder / "entry.json")
            return dict(zip(table.checksum, table.near_group, strict=True))
    return None
