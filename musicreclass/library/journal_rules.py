"""What a journal may say. A journal that somebody else made must not change or remove files that organize could not have touched."""

from __future__ import annotations

import os
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musicreclass.data.audio.suffixes import SUFFIXES

NAME = ".musicreclass-organize.jsonl"  # in the target folder
OWN_FILES = ".musicreclass-"  # what names of the journal and of scratch files begin with
COMPANIONS = (".lrc", ".cue")  # files of the same stem that go along with a recording
MOVABLE = (*SUFFIXES, *COMPANIONS)  # what undo moves out of the target folder
PLAYLIST = ".m3u8"
ACTIONS = ("folder", "link", "copy", "cut", "move", "tag", "playlist")
BESIDE_ACTIONS = ("tag", "organized")  # of the journal next to a table
BEGUN, DONE, VOID, UNDONE = "begun", "done", "void", "undone"
REQUIRED = {"link": ("link",), "tag": ("genre", "old", "mtime_ns"), "playlist": ("new_sha256",)}  # details by action
LIMIT = 1 << 63  # of sizes and times


class ForeignEntryError(ValueError):
    """An entry that organize does not write into this journal."""


def check_event(event: dict[str, Any], action: str, source: str, target: str) -> None:
    """Check the types of an event.

    Args:
        event: as read.
        action, source, target: of its step.

    Raises:
        ValueError, TypeError: if one is wrong.
    """
    details, versions = event.get("details", {}), event.get("versions", {})
    if event.get("state", BEGUN) not in (BEGUN, DONE, VOID, UNDONE):
        raise ValueError(event["state"])
    if not all(name in CHECKS and CHECKS[name](value) for name, value in details.items()):
        raise ValueError(details)
    if not all(path in (source, target) and is_version_entry(version) for path, version in versions.items()):
        raise ValueError(versions)
    if "action" in event and not all(name in details for name in REQUIRED.get(action, ())):
        raise ValueError(details)


def check_paths(action: str, source: str, target: str, root: Path | None) -> None:
    """Check that a step changes only files that organize changes.

    Args:
        action: of the step.
        source, target: of the step.
        root: the target folder; None for a journal next to a table.

    Raises:
        ForeignEntryError: if it does not.
        ValueError, TypeError: for paths that are none.
    """
    has_source = action in ("link", "copy", "cut", "move")
    if action not in (BESIDE_ACTIONS if root is None else ACTIONS):
        raise ValueError(action)
    if not is_plain(target) or not (is_plain(source) if has_source else source in ("", ".")):
        raise ForeignEntryError(target)
    if root is None or action == "folder":  # tags keep the samples, and only empty folders are removed
        return
    path = Path(target)
    if path.name.startswith(OWN_FILES):
        raise ForeignEntryError(target)
    if action == "playlist":
        if path.suffix != PLAYLIST:
            raise ForeignEntryError(target)
        return
    if path.parent.parent != root:
        raise ForeignEntryError(target)
    if action == "move" and Path(source).parent.parent != root and Path(source).suffix.lower() not in MOVABLE:
        raise ForeignEntryError(source)


def is_plain(path: str) -> bool:
    """Whether a text is an absolute path in normal form."""
    os.fsencode(path)
    return os.path.isabs(path) and "\0" not in path and os.path.normpath(path) == path


def is_number(value: Any) -> bool:
    """Whether a value is a size or a time."""
    return type(value) is int and abs(value) < LIMIT


def is_text(value: Any) -> bool:
    """Whether a value is text that may be part of a path."""
    return isinstance(value, str) and "\0" not in value


def is_version_entry(value: Any) -> bool:
    """Whether a value is a version of a file, as `transfer.version_of` returns it."""
    if "link" in value:
        return is_text(value["link"])
    return is_number(value["size"]) and is_number(value["mtime_ns"]) and is_text(value.get("sha256", ""))


def are_texts(value: Any) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list) and all(map(is_text, value))


def are_parts(value: Any) -> bool:
    """Whether a value is a difference of two files, as `delta.difference` returns it."""
    return value is None or all(
        len(part) == 2 and all(is_number(number) and number >= 0 for number in part)
        if len(part) != 1
        else isinstance(b64decode(part[0], validate=True), bytes)
        for part in value
    )


CHECKS: dict[str, Callable[[Any], bool]] = {
    "mode": lambda value: value in ("link", "copy", "move"),
    "link": is_text,
    "tags": lambda value: all(map(is_text, value.values())),
    "genre": is_text,
    "old": are_texts,
    "size": is_number,
    "mtime_ns": is_number,
    "labelled": lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_number, value)),
    "sha256": is_text,
    "new_sha256": is_text,
    "parts": are_parts,
    "undoing": lambda value: isinstance(value, bool),
    "restored": is_text,
}  # of details
