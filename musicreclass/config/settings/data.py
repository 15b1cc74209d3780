"""Settings of `data`: sources of tracks and their splits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import ConfigDict, Field

from musicreclass.config.fields import (
    Auto,
    Count,
    Natural,
    Positive,
    Rule,
    Seed,
    Text,
    Threads,
    setting,
)
from musicreclass.config.settings.section import Section, Target

SPLITS = ("train", "valid", "test")
SplitName = Literal["train", "valid", "test"]
Input = Literal["table", "waveform"]
Cache = Annotated[
    Literal["waveform", "none"], Rule("waveform or none; features=NAME stores features, and a log-mel is never stored")
]
Share = Annotated[float, Ge(0), Le(0.9)]
SampleRate = Annotated[int, Ge(1000), Le(768_000)]
Seconds = Annotated[float, Gt(0), Le(86400)]
Crops = Annotated[int, Ge(1), Le(10_000)]
CLIPS = ("sample_rate", "clip_seconds", "eval_crops", "eval_crop_position")  # keys of `data` for models over clips
OF_COMBINATION = (  # keys of `data` that combined datasets have in common
    "sample_rate", "cache", "clip_seconds", "eval_crops", "eval_crop_position", "sampler", "on_bad_file", "max_bad_fraction",
    "min_seconds", "min_class_tracks", "max_tracks", "workers", "on_missing",
)  # fmt: skip


class SplitSettings(Section):
    """How tracks are split into train, valid and test."""

    protocol: Text = setting("auto | random | grouped | a name that the data defines; chosen with data/split=NAME")
    valid: Annotated[float, Gt(0), Le(0.9)] = setting("fraction of tracks in the validation split")
    test: Share = setting("fraction of tracks in the test split")
    folds: Annotated[int, Ge(3), Le(100)] = setting("number of folds")
    fold: Natural = setting("with data/split=folds: test fold; the next fold is used for validation")
    seed: Seed = setting(
        "seed of the split; separate from the run's, so that runs with different seeds use the same split"
    )


class DataSettings(Target):
    """A source of tracks; keys that a source does not declare are rejected by its class."""

    about = ("provides", "split", "class_map")
    provides: Annotated[list[Input], MinLen(1)] = setting("contents of a batch: waveform, table", signed=False)
    split: SplitSettings = setting("")
    class_map: Text | None = setting(
        "other names for the classes: a file of conf/class_map/, as fma_to_gtzan, or your own YAML file; null: none"
    )
    root: Text | None = setting("folder of the dataset: data.root=DIR", signed=False)
    path: Text = setting("CSV or Parquet file with one row per track: data.path=FILE", signed=False)
    store: Text = setting("folder that stores expensive results", signed=False)
    on_missing: Literal["impute", "drop", "error"] = setting("missing and infinite values: impute | drop | error")
    min_class_tracks: Count = setting("classes with fewer tracks are dropped and counted")
    ignore_columns: list[Text] = setting("columns that are not features")
    keep_columns: list[Text] = setting(
        "columns that are features, although they resemble row numbers, ids or classes", signed=False
    )
    # of recordings
    sample_rate: SampleRate = setting("sample rate in Hz; set by the model or the encoder")
    cache: Cache = setting(
        "waveform: decode every recording once and store it | none: decode for each batch", signed=False
    )
    clip_seconds: Seconds = setting("length of a clip in seconds; training takes one random crop per track and epoch")
    eval_crops: Crops = setting("evenly spaced crops of each track in scoring; their probabilities are averaged")
    eval_crop_position: Literal["middle", "start"] = setting("position of a single crop: middle | start")
    sampler: Literal["none", "balanced"] = setting(
        "none | balanced: draw every class equally often, with the same number of draws per epoch"
    )
    on_bad_file: Literal["skip", "error"] = setting(
        "files that cannot be decoded: skip (and count) | error", signed=False
    )
    max_bad_fraction: Annotated[float, Ge(0), Le(1)] = setting(
        "largest fraction of a split's files that may be skipped", signed=False
    )
    min_seconds: Positive = setting("shorter recordings count as bad files")
    max_tracks: Annotated[int, Ge(2)] | None = setting(
        "largest number of tracks per split, evenly over the classes; for debugging"
    )
    workers: Threads | Auto = setting("threads that decode audio, and processes that extract features", signed=False)

    def sources(self) -> dict[str, DataSettings]:
        """These settings and, of combined datasets, those of each part, by their key."""
        return {"data": self}


class DemoSettings(DataSettings):
    """The synthetic genres."""

    clips_per_artist: Annotated[int, Ge(1), Le(10_000)] = setting(
        "clips of each of the 16 artists in each of the 6 genres"
    )


class FMASettings(DataSettings):
    """FMA's clips or features."""

    subset: Literal["small", "medium", "large", "full"] = setting("each subset contains the smaller ones")
    subset_exact: bool = setting("true: exclude the tracks of the smaller subsets")
    feature_sets: list[Text] = setting("feature sets to use, as [mfcc,spectral_contrast]; empty: all")
    truncated_clips: Literal["keep", "drop"] = setting(
        "keep | drop tracks with a truncated clip; their features cover the whole track"
    )


class GTZANSettings(DataSettings):
    """GTZAN's clips or feature table."""

    fold: Natural = setting("with data/split=artist_folds: test fold; the next fold is used for validation")
    seconds: Literal[30, 3] = setting(
        "30: one row per clip | 3: one row per segment; segments of a clip stay in one split"
    )


class MSDSettings(DataSettings):
    """Features of the Million Song Dataset."""

    labels: Text | None = setting("tagtraum's file of genres; null: the one in the dataset's folder", signed=False)
    minority: Literal["keep", "drop"] = setting("keep | drop tracks with a minority genre")


class MagnaTagATuneSettings(DataSettings):
    """MagnaTagATune's clips or features."""

    tags: Literal["top50", "all"] | Annotated[int, Ge(2)] = setting(
        "top50: the usual 50 | all: 188 | a number: the most frequent ones, after data.class_map"
    )
    untagged: Literal["drop", "keep"] = setting("drop | keep clips without any of the tags")


class JamendoSettings(DataSettings):
    """The MTG-Jamendo dataset."""

    subset: Literal["all", "genre", "instrument", "moodtheme", "top50tags"] = setting(
        "tags in use: all | genre | instrument | moodtheme | top50tags"
    )
    fold: Annotated[int, Ge(0), Le(4)] = setting("with data/split=official: which of the five published splits, 0 to 4")


class TableFileSettings(DataSettings):
    """Any table with one row per track."""

    id_column: Text = setting("column with the track ids")
    label_column: Text = setting("column with the genres")
    label_separator: Text | None = setting(
        "for several tags a track: what separates them in label_column, as '|'", default=None
    )
    label_columns: Annotated[list[Text], MinLen(1)] | None = setting(
        "for several tags a track: a column for each tag, with 1 or 0, instead of label_column", default=None
    )
    split_column: Text | None = setting("column with the values train, valid, test")
    group_column: Text | None = setting("column with the artists; a grouped split does not divide them")


class CSVRecordingsSettings(DataSettings):
    """Recordings that a CSV or Parquet file lists."""

    audio_column: Text = setting("column with the paths of the recordings")
    label_column: Text = setting("column with the genres")
    label_separator: Text | None = setting(
        "for several tags a track: what separates them in label_column, as '|'", default=None
    )
    label_columns: Annotated[list[Text], MinLen(1)] | None = setting(
        "for several tags a track: a column for each tag, with 1 or 0, instead of label_column", default=None
    )
    id_column: Text | None = setting("column with the track ids; null: the paths")
    split_column: Text | None = setting("column with the values train, valid, test")
    group_column: Text | None = setting("column with the artists; a grouped split does not divide them")
    album_column: Text | None = setting("column with the albums, which replace unknown artists")


class GenreFoldersSettings(DataSettings):
    """A folder for each genre."""

    group_by: Literal["auto", "tag", "name", "folder", "none"] | list[Literal["tag", "name", "folder"]] = setting(
        "source of the artist: tag | name, as Artist - Title | folder (below the genre's) | a list of these | none; "
        "auto: [tag,name,folder]"
    )
    corrections: Text | None = setting(
        "CSV file of checked labels, as `musicreclass review` exports it; they replace the folders' names", signed=False
    )
    only_corrected: bool = setting("leave out files without a checked label", default=False, signed=False)


class DataParts(Section):
    """Sources of tracks by name."""

    each = DataSettings
    model_config = ConfigDict(extra="allow")


class CombinedSettings(DataSettings):
    """Several datasets as one."""

    parts: DataParts = Field(default_factory=DataParts, description="the datasets, by name")

    def sources(self) -> dict[str, DataSettings]:
        """These settings and those of each part."""
        return {"data": self, **{f"data.parts.{name}": part for name, part in (self.parts.model_extra or {}).items()}}

    def signed(self) -> dict[str, Any]:
        """The signed values of the combination, and those of each part that are not the combination's."""
        parts = {key.rpartition(".")[2]: part.signed() for key, part in self.sources().items() if part is not self}
        signed = {name: {k: v for k, v in part.items() if k not in OF_COMBINATION} for name, part in parts.items()}
        return {**super().signed(), "parts": signed}
