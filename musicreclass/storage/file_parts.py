"""A part of a file as a path: `disc.flac#t=12.500000,260.000000`, with times in seconds, as a media fragment of a URL."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FRAGMENT = re.compile(r"#t=(\d+\.\d{6}),(\d+\.\d{6})\Z")


def part_path(file: Path, start: float, stop: float) -> Path:
    """The path of the part of a file between two times in seconds."""
    return file.with_name(f"{file.name}#t={start:.6f},{stop:.6f}")


def span_of(path: Path) -> tuple[float, float] | None:
    """Start and stop of a part in seconds; None for a path of a file."""
    match = FRAGMENT.search(path.name) if "#t=" in path.name else None
    return (float(match[1]), float(match[2])) if match else None


def file_of(path: Path) -> Path:
    """The file that contains a part; another path as it is."""
    return path if span_of(path) is None else path.with_name(FRAGMENT.sub("", path.name))


def part_digest(digest: str | None, path: Path) -> str | None:
    """The digest of a part from that of its file; of a file, its digest as it is."""
    span = span_of(path)
    if digest is None or span is None:
        return digest
    return hashlib.sha256(f"{digest}#t={span[0]:.6f},{span[1]:.6f}".encode()).hexdigest()
