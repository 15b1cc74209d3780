"""Which recordings of a table of labels a person should label first: spread over the features that the store has, then the least certain."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from musicreclass.data.parallel import show_progress
from musicreclass.errors import DataError, UserError, notices
from musicreclass.features.parts import Slot, load_means
from musicreclass.library.review import SUGGESTED
from musicreclass.library.selection import select
from musicreclass.plurals import counted
from musicreclass.prediction.formats import Row
from musicreclass.prediction.labels import UNKNOWN
from musicreclass.prediction.readers import FeatureReader, WaveformReader
from musicreclass.runs.folder import Run
from musicreclass.storage.store import Store, file_digests
from musicreclass.tasks.file_classifier import open_models
from musicreclass.tasks.tagger import open_tagger, tagger_names


@dataclass(frozen=True)
class Space:
    """Where the store has the features of recordings.

    Attributes:
        name: of the run or tagger.
        store: that has them.
        slots: of each source of features.
    """

    name: str
    store: Store
    slots: tuple[Slot, ...]

    def vectors(self, paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
        """The features of the recordings that have some, (m, D) float32, and which these are, (n,) bool."""
        with show_progress(f"reading the features of {counted(len(paths), 'recording')}", len(paths)) as advance:
            available = np.zeros(len(paths), bool)
            x = np.empty((len(paths), sum(slot.columns for slot in self.slots)), np.float32)
            count = 0
            for row, checksum in enumerate(file_digests(list(paths), self.store) if paths else []):
                mean = None if checksum is None else load_means(self.store.root / "vectors", self.slots, checksum)
                if mean is not None:
                    x[count], available[row] = mean, True
                    count += 1
                advance(1)
        return x[:count], available


def open_space(name: str, overrides: Sequence[str] = (), trust: tuple[str, ...] = ()) -> Space:
    """The features that a run or a tagger reads.

    Args:
        name: a run folder, or a tagger such as `musicnn`.
        overrides: `paths.cache=DIR`, or where the weights of encoders are now.
        trust: your own modules that the run needs.

    Raises:
        UserError: if there is no such run or tagger, or it reads no features.
    """
    name = os.path.expanduser(name)
    if not Path(name).exists() and name in tagger_names():
        models = list(open_tagger(name, overrides=overrides).models)
    else:
        run = Run.open(Path(name))
        models = open_models(run, trust, list(overrides))
    readers = {reader.key: reader for model in models for reader in model.readers}
    slots: list[Slot] = []
    store = None
    for reader in readers.values():
        if isinstance(reader, FeatureReader):
            slots.append(Slot(reader.key, len(reader.extractor.columns)))
            store = reader.store
        elif isinstance(reader, WaveformReader):
            slots += reader.slots
            store = reader.store
    if store is None:
        line = f"--space {name}: reads recordings and stores no features of them; name a run with features, or musicnn"
        raise UserError(line, "no_features", "space", name)
    return Space(name, store, tuple(slots))


def suggest(rows: list[Row], count: int, space: Space, seed: int = 0) -> list[Row]:
    """The rows to label first, in order, with their number in the column `suggested`.

    Rows with an error are left out, and rows that a person has checked are not suggested again.

    Args:
        rows: of a table of labels.
        count: how many.
        space: over which the recordings are spread.
        seed: of the selection.

    Raises:
        DataError: if no row has features.
    """
    usable = [row for row in rows if not row.get("error") and row.get("confidence") is not None]
    x, available = space.vectors([Path(row["path"]) for row in usable])
    if not available.any():
        line = f"--space {space.name}: the store {space.store.root} has no features of these recordings; musicreclass predict {space.name} --input DIR --output FILE computes them"
        raise DataError(line, "no_features", space.name)
    if not available.all():
        number = int((~available).sum())
        notices.warning("%d recordings have no stored features of %s, and are left out", number, space.name)
    present = [row for row, is_available in zip(usable, available, strict=True) if is_available]
    uncertainty = np.array([1 - row["confidence"] + (row["genre"] == UNKNOWN) for row in present])
    labelled = np.array([row.get("checked") == "yes" for row in present])
    chosen = select(x, uncertainty, count, labelled, seed)
    return [{**present[k], SUGGESTED: number} for number, k in enumerate(chosen.tolist(), start=1)]
