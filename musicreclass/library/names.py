"""Names of files and folders that are valid on Linux, macOS, Windows and exFAT, and distinct on all of them."""

from __future__ import annotations

import hashlib
import os
from unicodedata import category, normalize

FORBIDDEN = '<>:"/\\|?*'
DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$"} | {
    f"{d}{n}" for d in ("com", "lpt") for n in "0123456789¹²³"
}
MAX_BYTES = 255  # of a name on most file systems
MAX_FOLDER_BYTES = 200  # leaves room for a suffix


def fold(name: str) -> str:
    """A key that is equal for names that some file system takes for one: other case, other Unicode form."""
    return normalize("NFD", normalize("NFD", name).casefold())


def safe_name(text: str, limit: int = MAX_FOLDER_BYTES) -> str:
    """Any text as a name of one file or folder.

    Reserved and control characters become `_`, spaces and dots at the end and dots at the start are replaced, names of devices get
    a `_`, and a long name is cut and gets a digest.

    Args:
        text: as a genre.
        limit: bytes of the name in UTF-8.
    """
    name = "".join(_safe_character(c) for c in normalize("NFC", text)).strip().rstrip(". ")
    if name.startswith("."):
        name = "_" + name[1:]
    stem, dot, rest = name.partition(".")
    if stem.rstrip().casefold() in DEVICES:
        name = f"{stem.rstrip()}_{dot}{rest}"
    if len(name.encode()) > limit:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        name = name.encode()[: limit - 9].decode("utf-8", "ignore").rstrip(". ") + "~" + digest
    return name or "_"


def _safe_character(character: str) -> str:
    if character in FORBIDDEN or category(character).startswith("C"):
        return "_"
    return " " if category(character).startswith("Z") else character


def split_name(name: str) -> tuple[str, str]:
    """Stem and suffix of a file's name."""
    return os.path.splitext(name)


def numbered(stem: str, suffix: str, number: int) -> str:
    """`stem (2).suffix`, with the stem cut to what a file system allows; `stem.suffix` for number 1."""
    ending = suffix if number == 1 else f" ({number}){suffix}"
    while number > 1 and len(os.fsencode(stem + ending)) > MAX_BYTES:
        stem = stem[:-1]
    return stem + ending
