"""The prepare task: fetch weights, decode recordings and compute features ahead of training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from musicreclass.config.settings.data import SPLITS, CombinedSettings
from musicreclass.config.settings.tasks import PrepareSettings
from musicreclass.data.dataset_folder import install_folder
from musicreclass.data.download.archives import install
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.table_arrays import HEADER
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.errors import ConfigError, Problem, VerificationError
from musicreclass.features.opening import source_class
from musicreclass.models.encoder import Encoder
from musicreclass.plurals import counted
from musicreclass.storage.atomic import replacing
from musicreclass.storage.writing import writing
from musicreclass.tasks.find_or_train import check_files
from musicreclass.tasks.machine import for_one_process, use_machine
from musicreclass.tasks.open_data import create, open_data
from musicreclass.tasks.verify import verify_data


def prepare(settings: PrepareSettings) -> Iterator[str]:
    """Prepare what the settings name.

    Yields:
        a line about each thing that is ready now.

    Raises:
        UserError: if weights cannot be fetched, or the data does not exist or cannot be used.
        VerificationError: with `verify=true`, at the end, if something is wrong with the recordings or their splits.
    """
    check_files(settings)
    features = settings.features
    if settings.data is None and (features.target is None or settings.verify):
        line = "prepare: specify data=NAME" + ("" if settings.verify else " or features=NAME")
        raise ConfigError([Problem(line, "nothing_chosen", "data")])
    for key, section in features.sources().items():
        owner = source_class(str(section.target), key)[1]
        if issubclass(owner, Encoder):
            yield from (f"weights: {file}" for file in owner.fetch(**section.arguments()))
    if settings.data is None:
        return
    if features.target is None:
        settings = for_one_process(settings)  # nothing that a GPU computes
    settings, profile = use_machine(settings)
    yield from install_datasets(settings)
    failure: VerificationError | None = None
    for item in verify_data(settings) if settings.verify else ():
        if isinstance(item, VerificationError):
            failure = item
        else:
            yield item
    if failure is not None and features.target is None and settings.table is None:
        raise failure
    data = open_data(settings, profile, needs=())
    splits = ", ".join(f"{data.size(split)} {split}" for split in SPLITS)
    yield f"{settings.choices['data']}: {counted(len(data.tracks), 'track')} ({splits}), {counted(len(data.classes), 'class')}"
    yield from (f"left out: {count} {reason}" for reason, count in data.dropped.items() if count)
    yield from data.notes
    yield readiness(data)
    if settings.table is not None:
        write_table(data, Path(settings.table).expanduser())
        yield f"wrote {settings.table}"
    if failure is not None:
        raise failure


def install_datasets(settings: PrepareSettings) -> Iterator[str]:
    """Download and unpack the archives of published datasets that the data needs and does not find.

    Yields:
        a line about each step.
    """
    assert settings.data is not None
    for key, section in settings.data.sources().items():
        if isinstance(section, CombinedSettings):
            continue
        for name in create(section, key).missing_archives():
            archive = settings.download.archives.by_name()[name]
            base = install_folder(section.root, settings.paths.data, archive.dataset)

            def is_missing(name: str = name, key: str = key, section: Any = section) -> bool:
                return name in create(section, key).missing_archives()

            yield from install(name, base, settings.download, is_missing)


def readiness(data: TrackData) -> str:
    """What training will find in the store."""
    if isinstance(data, AudioData):
        decoded = "decoded, in the cache" if data.cache == "waveform" else "checked, not decoded (data.cache=none)"
        return f"recordings: {decoded}"
    assert isinstance(data, TableData)
    return f"features: {len(data.columns)} of each track"


def write_table(data: TrackData, path: Path) -> None:
    """Write the id, class, split, group, path and features of every track as CSV or Parquet; `data=table` reads it back.

    Raises:
        ConfigError: if the data is no table.
    """
    if not isinstance(data, TableData):
        line = f"table={path}: the data has recordings and no features; choose features=NAME too"
        raise ConfigError([Problem(line, "no_table", "table", str(path))])
    overlap = "; ".join(data.protocol.pretraining_overlap) or None
    columns = data.tracks.rename(columns={"target": "label"}).assign(pretraining_overlap=overlap)[list(HEADER)]
    features = pd.DataFrame(data.x, columns=data.columns).groupby(data.row_track).mean()
    table = pd.concat([columns.reset_index(drop=True), features], axis=1)
    with writing(path, remedy="choose another table=FILE"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as scratch:
            if path.suffix.lower() in (".parquet", ".pq"):
                table.to_parquet(scratch, index=False)
            else:
                table.to_csv(scratch, index=False, float_format="%.9g")  # float32 exactly
