"""The Echo Nest's analysis of MagnaTagATune's clips: an XML file for each clip to 60 features."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any
from xml.parsers import expat

import numpy as np
import pandas as pd

from musicreclass.data.dataset_folder import below, contents, dataset_root
from musicreclass.data.sources.blocks import Block, load_blocks
from musicreclass.data.sources.magnatagatune_files import CLIP_FOLDERS, NAMES, PAGE
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.storage.damage import raise_if_not_damage
from musicreclass.storage.store import Store

VERSION = 1  # of the values; part of the key of everything stored from them
BLOCK = 1000  # files after which an interrupted reading is resumed
SIZE = 12  # timbre coefficients of a segment, and pitch classes
MAX_BYTES, MAX_DEPTH, MAX_SEGMENTS = 32 << 20, 40, 100_000  # of a file; those of 29 s have about 100 segments in 100 kB
ATTRIBUTES = (
    "duration", "end_of_fade_in", "start_of_fade_out", "loudness", "tempo", "tempo_confidence", "time_signature",
    "time_signature_confidence", "key", "key_confidence", "mode", "mode_confidence",
)  # fmt: skip
NOT_DETECTED = {
    "tempo": 0.0,
    "time_signature": 0.0,
    "key": -1.0,
    "mode": -1.0,
}  # values at and below which nothing was detected
COLUMNS = (
    *ATTRIBUTES,
    *(f"{name}_{part}_{i:02d}" for name in ("timbre", "pitch") for part in ("mean", "std") for i in range(SIZE)),
)


class InvalidAnalysis(Exception):
    """A file is not The Echo Nest's analysis of a track."""


class AnalysisParser:
    """Collects the attributes of the track, and the timbre and pitches of its segments.

    Entities and external files are never read: a file that declares an entity is rejected.

    Attributes:
        attributes: of the element `track` and of the root, by name in lower case without underscores.
        segments: of `timbre` and `pitches`, the values of each segment by their number.
    """

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}
        self.segments: dict[str, list[dict[int, float]]] = {"timbre": [], "pitches": []}
        self.has_track = False
        self._open: list[str] = []
        self._number: int | None = None
        self._text = ""
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._reject
        self._parser.ExternalEntityRefHandler = self._reject

    def parse(self, content: bytes) -> None:
        """Parse a file.

        Raises:
            InvalidAnalysis: if it is not XML, declares entities, or is nested too deeply.
        """
        try:
            self._parser.Parse(content, True)
        except expat.ExpatError as error:
            raise InvalidAnalysis(f"not XML: {error}") from error
        if not self.has_track:
            raise InvalidAnalysis("no element track")

    def _reject(self, *_: Any) -> int:
        raise InvalidAnalysis("declares entities, which an analysis does not need")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.lower()
        if len(self._open) >= MAX_DEPTH:
            raise InvalidAnalysis("nested too deeply")
        if name == "track" or not self._open:
            self.has_track |= name == "track"
            self.attributes |= {key.lower().replace("_", ""): value for key, value in attributes.items()}
        elif name in self.segments:
            if len(self.segments[name]) >= MAX_SEGMENTS:
                raise InvalidAnalysis("too many segments")
            self.segments[name].append({})
        elif self._open[-1] in self.segments:
            values = self.segments[self._open[-1]][-1]
            number = attributes.get("class", attributes.get("dim", str(len(values))))
            self._number, self._text = int(number) if number.isdecimal() else None, ""
        self._open.append(name)

    def _characters(self, text: str) -> None:
        if self._number is not None:
            self._text += text

    def _end(self, _: str) -> None:
        self._open.pop()
        if self._number is not None:
            self.segments[self._open[-1]][-1][self._number] = number_of(self._text)
            self._number = None


def number_of(text: str | None) -> float:
    """A finite number, or NaN."""
    try:
        value = float(text or "nan")
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan


def read_analysis(path: Path) -> np.ndarray:
    """The features of a file, float32 in the order of `COLUMNS`; NaN where the analysis has no value.

    Raises:
        InvalidAnalysis: if it is not an analysis.
        OSError: if it cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InvalidAnalysis(f"larger than {MAX_BYTES >> 20} MiB")
    parser = AnalysisParser()
    parser.parse(path.read_bytes())
    track = [number_of(parser.attributes.get(name.replace("_", ""))) for name in ATTRIBUTES]
    for name, limit in NOT_DETECTED.items():
        if track[ATTRIBUTES.index(name)] <= limit:
            track[ATTRIBUTES.index(name)] = np.nan
    return np.concatenate([track, *(summary(parser.segments[name]) for name in ("timbre", "pitches"))]).astype(
        np.float32
    )


def summary(segments: list[dict[int, float]]) -> np.ndarray:
    """Means and standard deviations (24,) of the values of segments; NaN if none is complete."""
    rows = [[segment.get(i, np.nan) for i in range(SIZE)] for segment in segments]
    values = np.array([row for row in rows if np.isfinite(row).all()])
    return np.concatenate([values.mean(0), values.std(0)]) if len(values) else np.full(2 * SIZE, np.nan)


def find_analyses(root: str | None) -> dict[str, Path]:
    """Each XML file by the path of its clip, `c/name.mp3`; it is named `name.mp3.xml` or `name.xml` in the clip's folder.

    Raises:
        DatasetNotFoundError: if there are none.
        DataError: if a clip has two.
    """
    base = dataset_root(root, "MagnaTagATune")
    inside = next((path for name in NAMES[1:] if (path := below(base, name)).is_dir()), base)
    analyses: dict[str, Path] = {}
    for folder, folders, names in os.walk(inside):
        folders.sort()
        parent = Path(folder).name.lower()
        if len(parent) != 1 or parent not in CLIP_FOLDERS:
            continue
        for name in sorted(names):
            if name.lower().endswith(".xml") and not name.startswith("."):
                stem = name[:-4]
                clip = str(PurePosixPath(parent, stem[:-4] if stem.lower().endswith(".mp3") else stem)) + ".mp3"
                file = Path(folder, name)
                if analyses.setdefault(clip, file) != file:
                    line = f"MagnaTagATune: {clip} has two analyses: {analyses[clip]} and {file}; remove one"
                    raise DataError(line, "duplicate_ids", clip)
    if analyses:
        return analyses
    line = (
        f"MagnaTagATune: no XML files such as mp3_echonest_xml/0/NAME.mp3.xml below {base} ({contents(base)}); download and unpack"
        f" mp3_echonest_xml.zip from {PAGE}"
    )
    raise DatasetNotFoundError(line, "missing_analyses", base)


def load_analyses(paths: dict[str, Path], store: Store) -> pd.DataFrame:
    """The features of many files by clip, with `error`: why a file cannot be used, or empty. They are read once, and resumed."""
    return load_blocks("echonest-features", "XML", paths, frame_of, store, VERSION, BLOCK)


def frame_of(block: Block) -> pd.DataFrame:
    """The rows of some files."""
    rows, errors = [], []
    for _, path in block:
        error = ""
        try:
            row = read_analysis(path)
        except InvalidAnalysis as invalid:
            row, error = np.full(len(COLUMNS), np.nan, np.float32), str(invalid)
        except OSError as failure:
            raise_if_not_damage(path, failure)
            row, error = np.full(len(COLUMNS), np.nan, np.float32), "cannot be read"
        rows.append(row)
        errors.append(error)
    frame = pd.DataFrame(np.array(rows), index=[clip for clip, _ in block], columns=list(COLUMNS), dtype=np.float32)
    return frame.assign(error=pd.Series(errors, index=frame.index, dtype=object))
