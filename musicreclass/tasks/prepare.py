"""The prepare task: what training would do first, done ahead. Weights, decoded recordings, embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from musicreclass.config.schema import SPLITS
from musicreclass.data.recordings import AudioData
from musicreclass.data.table import TableData
from musicreclass.data.tracks import TrackData
from musicreclass.errors import ConfigError
from musicreclass.features.embeddings import encoder_class
from musicreclass.storage.atomic import replacing
from musicreclass.tasks.find_or_train import refuse_missing_weights
from musicreclass.tasks.open_data import open_data


def prepare(config: dict[str, Any]) -> None:
    """Do what the configuration names, and print what is there now.

    Args:
        config: a resolved configuration of conf/prepare.yaml.

    Raises:
        UserError: if weights cannot be had, or the data is not there or cannot be used.
    """
    refuse_missing_weights(config)
    features = config["features"]
    if not features.get("_target_") and config.get("data") is None:
        raise ConfigError(["prepare: say what: features=NAME fetches its weights, data=NAME decodes its recordings"])
    if features.get("_target_"):
        arguments = {name: value for name, value in features.items() if name != "_target_"}
        for file in encoder_class(features["_target_"])[1].fetch(**arguments):
            print(f"weights: {file}")
    if config.get("data") is None:
        return
    data = open_data(config, needs=())
    splits = ", ".join(f"{data.size(split)} {split}" for split in SPLITS)
    print(f"{config['choices']['data']}: {len(data.tracks)} tracks ({splits}), {len(data.classes)} classes")
    for reason, count in data.dropped.items():
        if count:
            print(f"left out: {count} {reason}")
    for note in data.notes:
        print(note)
    print(kept(data))
    if config["table"] is not None:
        write_table(data, Path(config["table"]).expanduser())
        print(f"table: {config['table']}")


def kept(data: TrackData) -> str:
    """What training now finds ready."""
    if isinstance(data, AudioData):
        way = "decoded, in the cache" if data.cache == "waveform" else "looked at, not decoded (data.cache=none)"
        return f"recordings: {way}"
    assert isinstance(data, TableData)
    return f"features: {len(data.columns)} of each track"


def write_table(data: TrackData, path: Path) -> None:
    """Every track's id, path, class, split and features as CSV.

    Raises:
        ConfigError: if the data is no table.
    """
    if not isinstance(data, TableData):
        raise ConfigError([f"table={path}: recordings are no table; choose features=NAME too"])
    about = data.tracks[["track_id", "path", "target", "split", "group"]]
    features = pd.DataFrame(data.x, columns=data.columns).groupby(data.row_track).mean()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as scratch:
        pd.concat([about.reset_index(drop=True), features], axis=1).to_csv(scratch, index=False, float_format="%.7g")
