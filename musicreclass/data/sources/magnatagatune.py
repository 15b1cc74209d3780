"""MagnaTagATune (Law et al., "Evaluation of algorithms using games: the case of music tagging", ISMIR 2009): its recordings, and the
features of The Echo Nest's analysis that is distributed with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.data.recordings import AudioData, Recordings
from musicreclass.data.sources.echonest import COLUMNS, find_analyses, load_analyses
from musicreclass.data.sources.magnatagatune_clips import FAULTY_CLIPS, Clips, load_clips, metadata_of
from musicreclass.data.sources.magnatagatune_files import find_recordings
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.data.tracks import some
from musicreclass.errors import DataError
from musicreclass.plurals import counted
from musicreclass.storage.store import Store

PROTOCOL = "official"


class MagnaTagATune(AudioData):
    """The clips of 29 s, each with its tags.

    Args:
        root: the dataset folder; annotations and clips are searched in it, and in `MTT/` or `MagnaTagATune/` below it.
        split: `official` (12:1:3 by folder, or by the split lists in the dataset folder), `grouped` by artist, `random`, `folds`.
        tags: `top50` (the usual ones), `all` (188), or a number: the most frequent ones, after the class map if there is one.
        untagged: `drop`, as the published lists do, or `keep` clips without any of the tags.
        options: as in `AudioData`.
    """

    dataset = "magnatagatune"

    def __init__(
        self,
        root: str | None,
        split: dict[str, Any],
        tags: str | int = "top50",
        untagged: str = "drop",
        **options: Any,
    ) -> None:
        super().__init__(split, **options)
        self.root, self.tags, self.untagged = root, tags, untagged

    def published_faults(self) -> dict[str, str]:
        """The three clips that are empty or unreadable in the published archive."""
        return dict.fromkeys(FAULTY_CLIPS, "empty or unreadable in the published archive")

    def find(self) -> Recordings:
        """The annotated clips whose mp3 file exists.

        Raises:
            DatasetNotFoundError: if there are no annotations, or no mp3 files.
        """
        clips = load_clips(self.root, self.tags, self.untagged, self.class_map, self.split.protocol == PROTOCOL)
        files, folders = find_recordings(self.root)
        self.incomplete = clips.join(files, "mp3 files", "a recording")
        return Recordings(
            paths=[files[clip] for clip in clips.frame.index],
            track_id=clips.frame.index.tolist(),
            target=clips.frame.tags.tolist(),
            metadata=metadata_of(clips),
            split_name=PROTOCOL,
            folders=folders,
            sources=clips.files,
            artist_names=clips.frame.artist_name.tolist(),
            dropped=clips.dropped,
            notes=clips.notes,
        )


class MagnaTagATuneFeatures(TableSource):
    """60 features of each clip from The Echo Nest's analysis, which is an XML file for each clip; the recordings are not needed.

    Args:
        root: as in `MagnaTagATune`; the XML files are searched at any depth below it.
        split, tags, untagged: as in `MagnaTagATune`.
        store: folder of the store, in which the features are kept.
        policies: as in `TableSource`.
    """

    dataset = "magnatagatune"

    def __init__(
        self,
        root: str | None,
        split: dict[str, Any],
        store: str,
        tags: str | int = "top50",
        untagged: str = "drop",
        **policies: Any,
    ) -> None:
        super().__init__(split, **policies)
        self.root, self.tags, self.untagged = root, tags, untagged
        self.store = Store(Path(store).expanduser())

    def files(self) -> list[Path]:
        """The text files, and the XML file of each clip."""
        clips = self._clips()
        analyses = find_analyses(self.root)
        return [*clips.files, *(analyses[clip] for clip in clips.frame.index if clip in analyses)]

    def _clips(self) -> Clips:
        return load_clips(self.root, self.tags, self.untagged, self.class_map, self.split.protocol == PROTOCOL)

    def read(self) -> FeatureTable:
        """The annotated clips whose XML file exists and can be read, joined by the name of the file.

        Raises:
            DatasetNotFoundError: if there are no annotations, or no XML files.
            DataError: if no XML file is that of an annotated clip.
        """
        clips = self._clips()
        analyses = find_analyses(self.root)
        expected = len(clips.frame)
        self.incomplete = clips.join(analyses, "XML files", "an analysis")
        if clips.frame.empty:
            line = f"MagnaTagATune: none of the {len(analyses)} XML files has the name of one of the {counted(expected, 'annotated clip')}"
            raise DataError(line, "no_tracks", "data.root")
        features = load_analyses({clip: analyses[clip] for clip in sorted(clips.frame.index)}, self.store)
        features = features.loc[clips.frame.index]
        clips.keep((features.error == "").to_numpy(), "with an unreadable analysis")
        x = features.loc[clips.frame.index, list(COLUMNS)].to_numpy(np.float32, copy=True)
        return FeatureTable(
            track_id=clips.frame.index,
            target=clips.frame.tags.tolist(),
            x=x,
            columns=list(COLUMNS),
            metadata=metadata_of(clips),
            split_name=PROTOCOL,
            artist_names=clips.frame.artist_name.tolist(),
            dropped=clips.dropped,
            notes=[*clips.notes, *column_notes(x)],
        )


def column_notes(x: np.ndarray) -> list[str]:
    """Notes on the columns that are the same for all clips, or missing for some.

    Args:
        x: the features, (n, F) in the order of `COLUMNS`.
    """
    is_finite = np.isfinite(x)
    low, high = (
        function(np.where(is_finite, x, fill), axis=0) for function, fill in ((np.min, np.inf), (np.max, -np.inf))
    )
    empty = [name for name, has_value in zip(COLUMNS, is_finite.any(axis=0), strict=True) if not has_value]
    constant = [name for name, same in zip(COLUMNS, (low == high) & is_finite.any(axis=0), strict=True) if same]
    partly = [name for name, full in zip(COLUMNS, is_finite.all(axis=0), strict=True) if not full and name not in empty]
    notes = []
    if empty:
        notes.append(f"{counted(len(empty), 'column has', 'columns have')} no value at all ({some(empty)})")
    if constant:
        notes.append(f"{counted(len(constant), 'column is', 'columns are')} constant ({some(constant)})")
    if partly:
        notes.append(f"{counted(len(partly), 'column is', 'columns are')} missing for some clips ({some(partly)})")
    return notes
