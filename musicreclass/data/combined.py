"""Several datasets as one: combined recordings and combined tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.data.combination import PARTS, CombinedTracks
from musicreclass.data.leaks import examples
from musicreclass.data.recording_files import METADATA, Recordings
from musicreclass.data.recordings import AudioData
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.data.tracks import as_targets, duplicate_ids, to_text
from musicreclass.errors import DataError

TABLE_METADATA = ("split", "group", "album", "duration")


class CombinedAudio(CombinedTracks, AudioData):
    """The recordings of several sources. See docs/datasets.md.

    Args:
        split: `parts`, `grouped` or `random`.
        parts: the sources by name; their own settings of recordings are not used.
        options: as in `AudioData`.
    """

    def __init__(self, split: dict[str, Any], parts: Mapping[str, AudioData], **options: Any) -> None:
        super().__init__(split, **options)
        self._set_parts(parts, AudioData)

    def published_checksums(self) -> dict[Path, str]:
        """Those of all parts."""
        return {
            path: sha1 for part in self._audio_parts().values() for path, sha1 in part.published_checksums().items()
        }

    def published_faults(self) -> dict[str, str]:
        """Those of all parts."""
        faults = {name: part.published_faults() for name, part in self._audio_parts().items()}
        return {f"{name}/{track_id}": text for name, clips in faults.items() for track_id, text in clips.items()}

    def _audio_parts(self) -> dict[str, AudioData]:
        return {name: part for name, part in self.parts.items() if isinstance(part, AudioData)}

    def find(self) -> Recordings:
        """The recordings of all parts.

        Raises:
            DataError: if the classes of the parts differ.
        """
        recordings_of: dict[str, Recordings] = {}
        for name, part in self.parts.items():
            assert isinstance(part, AudioData)
            part.needs = ()  # a part may have a single class
            recordings_of[name] = part.read_recordings()
        self.split_names = {name: recordings.split_name for name, recordings in recordings_of.items()}
        dropped, notes = self._take_over({name: recordings.target for name, recordings in recordings_of.items()})
        sources = [recordings.sources for recordings in recordings_of.values()]
        return Recordings(
            paths=[path for recordings in recordings_of.values() for path in recordings.paths],
            track_id=[
                f"{name}/{track_id}" for name, recordings in recordings_of.items() for track_id in recordings.track_id
            ],
            target=[target for recordings in recordings_of.values() for target in recordings.target],
            metadata=self._metadata(recordings_of, METADATA),
            split_name=PARTS,
            folders=[folder for recordings in recordings_of.values() for folder in recordings.folders],
            sources=None if None in sources else [file for files in sources for file in files or ()],
            dropped=dropped,
            notes=notes,
        )


class CombinedTable(CombinedTracks, TableSource):
    """Several tables with the same columns. See docs/datasets.md.

    Args:
        split: `parts`, `grouped` or `random`.
        parts: the tables by name, each with its own columns to ignore.
        policies: as in `TableSource`; `on_missing` and `min_class_tracks` of the parts are not used.
    """

    def __init__(self, split: dict[str, Any], parts: Mapping[str, TableSource], **policies: Any) -> None:
        super().__init__(split, **policies)
        self._set_parts(parts, TableSource)

    def setup(self, stage: str | None = None) -> None:
        """As of every table; keeps the marks of features that were pretrained on the tracks."""
        super().setup(stage)
        overlaps = [line for part in self.parts.values() for line in getattr(part, "overlaps", [])]
        self.protocol = replace(self.protocol, pretraining_overlap=list(dict.fromkeys(overlaps)))

    def files(self) -> list[Path]:
        """The files of all parts; empty if those of one are not known."""
        files = [part.files() for part in self.parts.values()]
        return [file for part in files for file in part] if all(files) else []

    def read(self) -> FeatureTable:
        """The rows of all parts.

        Raises:
            DataError: if the columns or the classes of the parts differ.
        """
        tables: dict[str, FeatureTable] = {}
        for name, part in self.parts.items():
            assert isinstance(part, TableSource)
            part.needs = ()  # a part may have a single class
            tables[name] = table = part.read_table()
            ids = to_text(table.track_id)
            if not table.segments and ids.duplicated().any():
                raise duplicate_ids(ids[ids.duplicated()])
            self.keep_columns += [column for column in part.keep_columns if column not in self.keep_columns]
        columns = next(iter(tables.values())).columns
        order = {name: self._order(name, table.columns, columns) for name, table in tables.items()}
        self.split_names = {name: table.split_name for name, table in tables.items()}
        dropped, notes = self._take_over({name: table.target for name, table in tables.items()})
        has_checksums = all(table.metadata.get("checksum") is not None for table in tables.values())
        return FeatureTable(
            track_id=[f"{name}/{track_id}" for name, table in tables.items() for track_id in to_text(table.track_id)],
            target=[target for table in tables.values() for target in as_targets(table.target)],
            x=np.concatenate([table.x[:, order[name]] for name, table in tables.items()]),
            columns=columns,
            metadata=self._metadata(tables, (*TABLE_METADATA, *(("checksum",) if has_checksums else ()))),
            split_name=PARTS,
            segments=any(table.segments for table in tables.values()),
            dropped=dropped,
            notes=notes,
        )

    def _order(self, name: str, columns: list[str], expected: list[str]) -> list[int]:
        """The positions of the expected columns in a part's table.

        Raises:
            DataError: if the columns differ.
        """
        extra, missing = sorted({*columns} - {*expected}), sorted({*expected} - {*columns})
        if not extra and not missing:
            return [columns.index(column) for column in expected]
        first = next(iter(self.parts))
        differences = [f"{name} also has {examples(extra)}"] if extra else []
        differences += [f"{name} lacks {examples(missing)}"] if missing else []
        raise DataError(
            f"data=[{','.join(self.parts)}]: the features of {first} and {name} differ ({len(expected)} and {len(columns)}): "
            f"{', '.join(differences)}; leave out the others with data.parts.NAME.ignore_columns=[...]",
            kind="different_columns",
            key=f"data.parts.{name}.ignore_columns",
            value=extra or missing,
        )
