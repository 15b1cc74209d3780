"""Every setting: its type, range, choices and help line. The YAML files of conf/ hold the defaults.

A section with a `_target_` creates a class of this package, of a library or of the user. Keys of a library that are not declared
here are checked against the type of the default in YAML. The keys of a user's class are checked against its signature only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Len, MinLen, MultipleOf
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from musicreclass.config.fields import (
    Auto,
    Count,
    Natural,
    NonNegative,
    Positive,
    Probability,
    Rule,
    Seed,
    Text,
    Threads,
    distinct,
    nonzero,
    ordered,
    setting,
)

SPLITS = ("train", "valid", "test")
SplitName = Literal["train", "valid", "test"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]  # as PyTorch Lightning names them
Input = Literal["table", "waveform"]
Share = Annotated[float, Ge(0), Le(0.9)]
SampleRate = Annotated[int, Ge(1000), Le(768_000)]
Seconds = Annotated[float, Gt(0), Le(86400)]
Crops = Annotated[int, Ge(1), Le(10_000)]
Width = Annotated[int, Ge(1), Le(65_536)]
Rate = Annotated[float, Gt(0), Le(1000)]
Jobs = Annotated[int, Ge(-1024), Le(1024), nonzero, Rule("a whole number from -1024 to 1024, not 0")]
SplitNames = Annotated[list[SplitName], MinLen(1), distinct, Rule("a non-empty list of train, valid, test, each once")]
Gain = Annotated[list[float], Len(2, 2), ordered(-120, 120), Rule("[lowest, highest] in dB, within -120 and 120")]
Tempo = Annotated[list[float], Len(2, 2), ordered(0.25, 4), Rule("[slowest, fastest], within 0.25 and 4")]
Shift = Annotated[list[float], Len(2, 2), ordered(-24, 24), Rule("[lowest, highest] in semitones, within -24 and 24")]
Ratio = Annotated[list[float], Len(2, 2), ordered(-60, 120), Rule("[lowest, highest] in dB, within -60 and 120")]
PitchStep = Annotated[float, Ge(0.5), Le(48), MultipleOf(0.5), Rule("a multiple of 0.5 semitones, at least 0.5")]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+/\S+$")]
Checksum = Annotated[str, StringConstraints(pattern=r"^(sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")]
SIGNED = (  # top-level keys that can change a result; no other key is part of a run's signature
    "data", "features", "model", "optimizer", "scheduler", "early_stopping", "augmentation", "trainer", "class_weight", "seed",
    "callbacks",
)  # fmt: skip
TRAINING = (
    "optimizer",
    "scheduler",
    "early_stopping",
    "trainer",
    "callbacks",
)  # of SIGNED, the keys that estimators ignore
DEBUGGING = (
    "limit_train_batches",
    "limit_valid_batches",
    "diagnosis",
)  # keys of `trainer` for runs that are no results
CLIPS = ("sample_rate", "clip_seconds", "eval_crops", "eval_crop_position")  # keys of `data` for models over clips
OF_COMBINATION = (  # keys of `data` that combined datasets have in common
    "sample_rate", "cache", "clip_seconds", "eval_crops", "eval_crop_position", "sampler", "on_bad_file", "max_bad_fraction",
    "min_seconds", "min_class_tracks", "max_tracks", "workers", "on_missing",
)  # fmt: skip
ESTIMATORS = (
    "sklearn.",
    "xgboost.",
    "lightgbm.",
    "catboost.",
)  # libraries with a fit that ignores the training settings
PACKAGES = ("musicreclass.", "torch.", *ESTIMATORS)  # with classes that take arguments as declared here


def section(kind: type[Section], help_line: str) -> Any:
    """A field with further settings below it; if no YAML file has the section, none of them is set."""
    return Field(default_factory=kind, description=help_line)


class Section(BaseModel):
    """Settings under one key; a key that is not declared is an error.

    Attributes:
        complete: whether the YAML files must set every key that has no default.
        each: the class of the sections under names that the user chooses, beside the declared ones; None if there are no such sections.
    """

    complete: ClassVar[bool] = False
    each: ClassVar[type[Section] | None] = None
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def as_dict(self) -> dict[str, Any]:
        """The settings that were set, as plain values under their names in the YAML files."""
        return self.model_dump(by_alias=True, exclude_unset=True, serialize_as_any=True)

    def signed(self) -> dict[str, Any]:
        """The values that can change a result, declared defaults included."""
        fields = type(self).model_fields
        unsigned = {
            name
            for name, field in fields.items()
            if isinstance(field.json_schema_extra, dict) and not field.json_schema_extra.get("signed", True)
        }
        defaults = {name: field.default for name, field in fields.items() if field.default is not None}
        return {name: value for name, value in {**defaults, **self.as_dict()}.items() if name not in unsigned}


class Target(Section):
    """Settings of a class; keys that are not declared are passed to the class.

    Attributes:
        about: the declared keys that apply to users' classes too, which take any other argument as it is; None: all.
    """

    about: ClassVar[tuple[str, ...] | None] = None
    model_config = ConfigDict(extra="allow")

    target: str | None = Field(None, alias="_target_", description="the class that these settings create")

    def arguments(self, *without: str) -> dict[str, Any]:
        """The arguments of the class: all settings that were set but `_target_` and those named."""
        return {name: value for name, value in self.as_dict().items() if name != "_target_" and name not in without}


class Weighted(Target):
    """Settings of a class that may load pretrained weights.

    Attributes:
        names_folder: whether `checkpoint` is a folder.
    """

    names_folder: ClassVar[bool] = False
    checkpoint: Text | None = setting("file or name of the pretrained weights; random: untrained weights")

    def weights_files(self) -> list[Path]:
        """The file that `checkpoint` names, or the files of the folder; none for a published network's name, or `random`."""
        name: Any = self.checkpoint  # a user's class may take anything
        if not isinstance(name, str) or not (self.names_folder or "/" in name or Path(name).suffix):
            return []
        path = Path(name).expanduser()
        if self.names_folder:
            return sorted(
                file for pattern in ("*.json", "*.safetensors") for file in path.glob(pattern) if file.is_file()
            )
        return [path] if path.is_file() else []


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
    root: str | None = setting("folder of the dataset: data.root=DIR", signed=False)
    path: Text = setting("CSV or Parquet file with one row per track: data.path=FILE", signed=False)
    store: Text = setting("folder that stores expensive results", signed=False)
    on_missing: Literal["impute", "drop", "error"] = setting("missing and infinite values: impute | drop | error")
    min_class_tracks: Count = setting("classes with fewer tracks are dropped and counted")
    ignore_columns: list[str] = setting("columns that are not features")
    keep_columns: list[str] = setting(
        "columns that are features, although they resemble row numbers, ids or classes", signed=False
    )
    # of recordings
    sample_rate: SampleRate = setting("sample rate in Hz; set by the model or the encoder")
    cache: Literal["waveform", "none"] = setting(
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
    feature_sets: list[str] = setting("feature sets to use, as [mfcc,spectral_contrast]; empty: all")
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

    labels: str | None = setting("tagtraum's file of genres; null: the one in the dataset's folder", signed=False)
    minority: Literal["keep", "drop"] = setting("keep | drop tracks with a minority genre")


class TableFileSettings(DataSettings):
    """Any table with one row per track."""

    id_column: str = setting("column with the track ids")
    label_column: str = setting("column with the genres")
    split_column: str | None = setting("column with the values train, valid, test")
    group_column: str | None = setting("column with the artists; a grouped split does not divide them")


class CSVRecordingsSettings(DataSettings):
    """Recordings that a CSV or Parquet file lists."""

    audio_column: str = setting("column with the paths of the recordings")
    label_column: str = setting("column with the genres")
    id_column: str | None = setting("column with the track ids; null: the paths")
    split_column: str | None = setting("column with the values train, valid, test")
    group_column: str | None = setting("column with the artists; a grouped split does not divide them")
    album_column: str | None = setting("column with the albums, which replace unknown artists")


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


class FrontendSettings(Section):
    """The log-mel spectrogram before a network."""

    n_fft: Annotated[int, Ge(16), Le(2**20)] = setting("samples per frame")
    hop_length: Annotated[int, Ge(1), Le(2**20)] = setting("samples between frames")
    n_mels: Annotated[int, Ge(8), Le(4096)] = setting("mel bands")
    f_min: NonNegative = setting("lower edge of the lowest band, Hz")
    f_max: Positive | None = setting("upper edge of the highest band, Hz; null: half the sample rate")


class ModelSettings(Weighted):
    """A network or an estimator."""

    input: Input = setting("what the model reads: table | waveform")
    scale: bool = setting("standardise the features with the training split's statistics", default=True)
    sample_rate: SampleRate | None = setting("sample rate in Hz; recordings are resampled to it")
    clip_seconds: Seconds | None = setting("length of a clip in seconds; sets data.clip_seconds")
    eval_crops: Crops | None = setting("sets data.eval_crops")
    eval_crop_position: Literal["middle", "start"] | None = setting("sets data.eval_crop_position")
    frontend: FrontendSettings | None = setting("log-mel spectrogram; null: the network reads the waveform")
    n_jobs: Jobs | None = setting("threads; null: set by the hardware profile", signed=False)

    about: ClassVar[tuple[str, ...]] = (  # keys that are no arguments of the class
        "input", "scale", "sample_rate", "clip_seconds", "eval_crops", "eval_crop_position", "frontend",
    )  # fmt: skip

    @property
    def is_estimator(self) -> bool:
        """Whether the model is known to read none of the training settings."""
        return str(self.target).startswith(ESTIMATORS)


class MLPSettings(ModelSettings):
    """A multilayer perceptron over a feature table."""

    hidden: list[Width] = setting("widths of the hidden layers")
    dropout: Probability | Auto = setting(
        "probability of dropping a hidden unit in training; auto: by the number of tracks"
    )


class LayerProbeSettings(ModelSettings):
    """A mix of an encoder's layers with a head."""

    hidden: Annotated[int, Ge(0), Le(65_536)] = setting("units of the head's hidden layer; 0: linear head")
    dropout: Probability = setting("dropout in the head")


class CNNSettings(ModelSettings):
    """The residual network over the log-mel."""

    channels: Annotated[int, Ge(1), Le(4096)] = setting(
        "channels of the first of four stages; doubled in each later stage"
    )
    depth: Annotated[int, Ge(1), Le(100)] = setting("residual blocks per stage")
    dropout: Probability = setting("dropout before the last layer")


class PlainCNNSettings(ModelSettings):
    """The plain convolutional baseline."""

    channels: Annotated[int, Ge(1), Le(4096)] = setting(
        "channels of the first of three blocks; doubled in each later block"
    )
    hidden: Width = setting("units of the hidden layer")
    dropout: Probability = setting("dropout before the last layer")


class OpenJMLASettings(ModelSettings):
    """OpenJMLA's encoder with a head."""

    prefix: str | None = setting("prefix of the encoder's tensors in a file with several encoders")
    pooling: Literal["mean", "cls", "cls_mean"] = setting(
        "mean: of the patch tokens | cls: the class token | cls_mean: both"
    )
    window_seconds: Positive | None = setting("length of a window in seconds; null: 29.92, as in pretraining")
    position: Literal["cut", "interpolate"] = setting("position embeddings for other window lengths: cut | interpolate")
    trainable: Literal["head", "last_blocks", "all"] = setting("trained part: head | last_blocks (and the head) | all")
    last_blocks: Count = setting("number of blocks that trainable=last_blocks trains, counted from the top")
    hidden: Annotated[int, Ge(0), Le(65_536)] = setting("units of the head's hidden layer; 0: linear head")
    dropout: Probability = setting("dropout in the head")
    layer_decay: Annotated[float, Gt(0), Le(1)] = setting("learning rate of a block relative to the block above")
    unfreeze_every: Count | None = setting("epochs until the next block is unfrozen; null: unfreeze all at the start")


class XGBoostSettings(ModelSettings):
    """Boosted trees; XGBoost checks most of these only during training, and some not at all."""

    n_estimators: Count | Auto | None = setting(
        "maximum number of boosting rounds; with early stopping the best on validation is used"
    )
    learning_rate: Annotated[float, Gt(0), Le(1)] | Auto | None = setting("shrinkage of each tree")
    max_depth: Annotated[int, Ge(0), Le(1000)] | Auto | None = setting("maximum depth of a tree; 0: no limit")
    max_bin: Annotated[int, Ge(2), Le(65_536)] | None = setting("maximum number of histogram bins per feature")
    subsample: Annotated[float, Gt(0), Le(1)] | Auto | None = setting("fraction of tracks used for each tree")
    colsample_bytree: Annotated[float, Gt(0), Le(1)] | Auto | None = setting("fraction of features used for each tree")
    early_stopping_rounds: Count | Auto | None = setting(
        "stop after this many rounds without a better validation loss; null: never"
    )
    num_parallel_tree: Annotated[int, Ge(1), Le(1000)] | None = setting("trees grown in each round")
    random_state: Seed | None = setting("seed of the trees")


class CalibratedSettings(ModelSettings):
    """An estimator with calibrated probabilities."""

    cv: Annotated[int, Ge(2)] | Auto = setting("folds of the calibration; auto: by the number of tracks")


class FeatureSettings(Weighted):
    """The encoder that turns recordings into a table."""

    about = ("sample_rate", "precision", "cache", "batch_size")
    sample_rate: SampleRate = setting("sample rate in Hz; recordings are resampled to it")
    folder: Text = setting("folder of the weights", signed=False)
    precision: Precision | Auto = setting("precision of the encoder; auto: trainer.precision", default="32-true")
    cache: Literal["waveform", "none"] = setting(
        "sets data.cache; features are computed from each recording only once", signed=False
    )
    batch_size: Count = setting("windows per forward pass", default=8, signed=False)

    def sources(self) -> dict[str, FeatureSettings]:
        """The settings of each source of features by their key; empty if there is none."""
        return {} if self.target is None else {"features": self}

    def with_precision(self, precision: str) -> FeatureSettings:
        """These settings with a precision in place of `auto`."""
        return self.model_copy(update={"precision": precision}) if self.precision == "auto" else self


class FMA518Settings(FeatureSettings):
    """The 518 features of FMA."""

    backend: Literal["fast", "reference", "torch"] = setting(
        "fast | torch: in batches, for a GPU | reference: computed by librosa, several times slower"
    )
    sets: Annotated[list[Text], MinLen(1)] | None = setting("feature sets, as [mfcc,spectral_contrast]; null: all")
    parallel: Literal["loky", "threading", "ray"] = setting(
        "joblib's back end: loky (processes) | threading | ray (a cluster)", signed=False
    )


class FeatureParts(Section):
    """Sources of features by name."""

    each = FeatureSettings
    model_config = ConfigDict(extra="allow")


class JoinedSettings(FeatureSettings):
    """Several sources of features, joined into one table."""

    parts: FeatureParts = Field(default_factory=FeatureParts, description="the sources of features, by name")

    def sources(self) -> dict[str, FeatureSettings]:
        """The settings of each source."""
        return {f"features.parts.{name}": part for name, part in (self.parts.model_extra or {}).items()}

    def signed(self) -> dict[str, Any]:
        """The signed values of each source."""
        parts = {key.rpartition(".")[2]: part.signed() for key, part in self.sources().items()}
        return {"_target_": self.target, "parts": parts}

    def with_precision(self, precision: str) -> FeatureSettings:
        """As of each source."""
        parts = {key.rpartition(".")[2]: part.with_precision(precision) for key, part in self.sources().items()}
        return self.model_copy(update={"parts": self.parts.model_copy(update=parts)})


class MusiCNNEncoderSettings(FeatureSettings):
    """A musicnn tagger as an encoder."""

    layer: Text = setting("layer that provides the vectors")
    wheel: str | None = setting("wheel with the weights, for prepare without internet access", signed=False)


class HuggingFaceEncoderSettings(FeatureSettings):
    """An audio encoder of transformers."""

    names_folder = True
    layer: Literal["last", "all"] | Natural = setting(
        "layer that provides the vectors: last | 0 (input of the first block), 1, ... | all"
    )
    window_seconds: Positive | None = setting("length of a window in seconds; null: as the checkpoint's front end")


class OpenJMLAEncoderSettings(FeatureSettings):
    """OpenJMLA's encoder."""

    prefix: str | None = setting("prefix of the encoder's tensors in a file with several encoders")
    pooling: Literal["mean", "cls", "cls_mean"] = setting(
        "mean: of the patch tokens | cls: the class token | cls_mean: both"
    )
    window_seconds: Positive | None = setting("length of a window in seconds; null: as in pretraining")
    position: Literal["cut", "interpolate"] = setting("position embeddings for other window lengths: cut | interpolate")


class OptimizerSettings(Target):
    """The optimizer of a network."""

    about = ()
    lr: Rate = setting("learning rate")
    weight_decay: Annotated[float, Ge(0), Le(1000)] = setting("weight decay")
    momentum: Annotated[float, Ge(0), Le(1)] = setting("momentum of SGD")
    fused: bool | None = setting("update all parameters in one kernel")


class SchedulerSettings(Target):
    """The learning rate schedule of a network."""

    about = ("interval",)
    interval: Literal["epoch", "step"] = setting("when the schedule advances")


class EarlyStoppingSettings(Section):
    """When training stops before the last epoch."""

    complete = True
    patience: Natural | None = setting("stop after this many epochs without a better trainer.monitor; null: never")
    min_delta: NonNegative = setting("minimum change that counts as an improvement", default=0.0)


class AugmentationSettings(Target):
    """Augmentation of training clips; validation and test are never augmented."""

    gain_db: Gain | None = setting("[lowest, highest] gain in dB, as [-6, 6]; null: off")
    gain_p: Probability = setting("probability that a clip is amplified")
    polarity_p: Probability = setting("probability that a clip is inverted")
    stretch_rate: Tempo | None = setting("[slowest, fastest] tempo at equal pitch, as [0.9, 1.1]; null: off")
    stretch_step: Annotated[float, Ge(0.01), Le(4)] = setting("rates are slowest, slowest + step, ...")
    stretch_p: Probability = setting("probability that a clip is stretched")
    pitch_semitones: Shift | None = setting("[lowest, highest] shift at equal tempo, as [-2, 2]; null: off")
    pitch_step: PitchStep = setting("shifts are lowest, lowest + step, ..., semitones")
    pitch_p: Probability = setting("probability that a clip is shifted")
    noise_snr: Ratio | None = setting("[lowest, highest] ratio of signal to white noise in dB; null: off")
    noise_snr_p: Probability = setting("probability that a clip gets noise at that ratio")
    noise_amplitude: Annotated[float, Ge(0), Le(1)] = setting(
        "standard deviation of white noise; full scale is 1; 0: off"
    )
    noise_amplitude_p: Probability = setting("probability that a clip gets that noise")
    time_masks: Natural = setting("SpecAugment masks over time in each clip; 0: off")
    time_mask_frames: Natural = setting("widest mask over time, frames")
    freq_masks: Natural = setting("SpecAugment masks over frequency in each clip; 0: off")
    freq_mask_bands: Natural = setting("widest mask over frequency, mel bands")
    mixup_alpha: Annotated[float, Ge(0), Le(100)] = setting(
        "mix clips in pairs, weights from Beta(alpha, alpha); 0: off"
    )


class HardwareSettings(Section):
    """How a run uses the machine; `auto` depends on the machine."""

    complete = True
    kind: Literal["jetson", "rtx", "datacenter"] | None = setting(
        "machine that the profile is made for; a warning is printed on others"
    )
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = setting(
        "device that trains the network: auto | cpu | gpu | cuda | mps"
    )
    devices: Annotated[int, Ge(1), Le(1024)] = setting(
        "GPUs per machine that train one network (with accelerator=cpu: processes)"
    )
    nodes: Annotated[int, Ge(1), Le(65_536)] = setting("number of machines; start the processes with srun or torchrun")
    strategy: Literal["auto", "ddp"] = setting("multi-device strategy; auto selects ddp")
    precision: Precision = setting("precision used for trainer.precision=auto")
    threads: Threads | Auto = setting("CPU threads; auto: as many as this process may use")
    workers: Threads | Auto = setting(
        "threads that decode audio, and processes that extract features; auto: as many as this process may use"
    )
    prefetch: Annotated[int, Ge(1), Le(10_000)] | Auto = setting("batches of audio prepared in advance")
    pin_memory: bool | Auto = setting("page-locked batches, for faster transfer to the GPU")
    channels_last: bool | Auto = setting("channels-last memory layout, faster for half precision on GPUs")
    tf32: bool | Auto = setting("allow TF32 multiplications on GPUs; auto: not with 32-true")
    compile: bool | Auto = setting("use torch.compile; auto: if a compiler is available")
    micro_batch: Count | Auto | None = setting(
        "tracks per forward pass; auto: measured, as many as fit; null: the whole batch"
    )
    memory_margin: Annotated[float, Ge(0), Le(0.9)] | Auto = setting(
        "fraction of the free memory that micro_batch=auto leaves unused"
    )
    gpu_share: Annotated[float, Gt(0), Le(1)] | None = setting(
        "fraction of a GPU's memory that PyTorch may allocate; null: all"
    )
    empty_cache_every: Count | Auto | None = setting("release unused GPU memory after this many batches; null: never")
    monitor_interval: Annotated[float, Ge(0.1), Le(86400)] | Auto | None = setting(
        "seconds between sensor readings; null: no readings"
    )


class TrackerSettings(Target):
    """A logger of Lightning, or one of the user's."""

    about = ()


class LoggerSettings(Section):
    """What is logged in addition to history.csv: TensorBoard's event files, and loggers by name."""

    each = TrackerSettings
    model_config = ConfigDict(extra="allow")

    tensorboard: bool = setting("write TensorBoard event files", default=False)

    def trackers(self) -> dict[str, TrackerSettings]:
        """The loggers by name."""
        return dict(self.model_extra or {})


class CallbackSettings(Target):
    """A callback of Lightning, or one of the user's."""

    about = ()


class CallbacksSettings(Section):
    """Callbacks by name."""

    each = CallbackSettings
    model_config = ConfigDict(extra="allow")

    def by_key(self) -> dict[str, CallbackSettings]:
        """The callbacks by their dotted keys."""
        return {f"callbacks.{name}": callback for name, callback in (self.model_extra or {}).items()}


class EncoderSettings(Section):
    """Precision of networks."""

    complete = True
    precision: Precision | Auto = setting("32-true | bf16-mixed | 16-mixed; auto: hardware.precision")


class TrainerSettings(EncoderSettings):
    """How networks are trained; estimators ignore these settings."""

    max_epochs: Count = setting("maximum number of epochs")
    batch_size: Count | Auto = setting("effective batch: tracks per optimizer step; auto: by the number of tracks")
    monitor: Literal["valid/loss", "valid/accuracy", "valid/macro_f1", "train/loss"] = setting(
        "metric that selects the best epoch and controls early stopping and scheduler=plateau"
    )
    label_smoothing: Annotated[float, Ge(0), Le(1)] = setting("label smoothing, applied to the training loss only")
    focal_gamma: Annotated[float, Ge(0), Le(10)] | None = setting(
        "focal loss with this gamma, such as 2, in training; null: cross-entropy"
    )
    gradient_clip_norm: Positive | None = setting("maximum gradient norm; null: no clipping")
    limit_train_batches: Count | None = setting("for a smoke run: batches of a training epoch; null: all")
    limit_valid_batches: Count | None = setting("for a smoke run: batches of a validation epoch; null: all")
    diagnosis: Literal["lr_finder", "profile"] | None = setting(
        "lr_finder: learning rate range test | profile: where the time goes; chosen with debug=NAME"
    )

    @property
    def is_debugging(self) -> bool:
        """Whether a run is no result to compare."""
        return any(getattr(self, name) is not None for name in DEBUGGING)

    @property
    def tracks_per_step(self) -> int:
        """The effective batch; `auto` must have been resolved."""
        assert self.batch_size != "auto"
        return self.batch_size


class PathSettings(Section):
    """Folders."""

    outputs: Text = setting("folder of the run folders")
    cache: Text = setting("folder that stores expensive results")
    data: str | None = setting("folder that contains GTZAN/ and FMA/")
    models: str = setting("folder of pretrained weights")


S = TypeVar("S", bound="Settings")


class Settings(Section):
    """Settings of all tasks that are configured by YAML files."""

    data: DataSettings | None = setting("the source of tracks")
    features: FeatureSettings = section(FeatureSettings, "the encoder or extractor that turns recordings into a table")
    hardware: HardwareSettings = section(HardwareSettings, "how the machine is used")
    paths: PathSettings = section(PathSettings, "folders")
    trainer: EncoderSettings = section(EncoderSettings, "precision of networks")
    seed: Seed = setting("seed for all random numbers")
    choices: dict[str, str] = setting("the chosen option of each group")

    def weighted(self) -> dict[str, Weighted]:
        """The sections that may name pretrained weights, by their key."""
        return dict(self.features.sources())

    def with_precision(self: S, precision: str) -> S:
        """These settings with a precision in place of every `auto`."""
        changes: dict[str, Any] = {}
        if self.trainer.precision == "auto":
            changes["trainer"] = self.trainer.model_copy(update={"precision": precision})
        features = self.features.with_precision(precision)
        if features is not self.features:
            changes["features"] = features
        return self.model_copy(update=changes)


class ArchiveSettings(Section):
    """A published archive of a dataset."""

    complete = True
    dataset: Text = setting("name of the dataset's folder")
    urls: Annotated[list[Url], MinLen(1), Rule("a non-empty list of URLs that start with http:// or https://")] = (
        setting("the mirrors, in the order in which they are tried")
    )
    checksums: Annotated[list[Checksum], MinLen(1), Rule("a list such as [sha1:DIGITS] (sha1, sha256 or md5)")] = (
        setting("checksums of the archive, any of which it must have")
    )
    gigabytes: Positive = setting("approximate size of the archive, in 10^9 bytes")
    unpacked_gigabytes: Positive = setting("approximate size of its files, in 10^9 bytes")
    folder: Text = setting("where it is unpacked, below the dataset's folder")
    contains: Text = setting("the folder that the dataset is read from, below `folder`")
    inside: Text | None = setting("the name of that folder in the archive, if it is another one", default=None)
    page: Text = setting("web page of the dataset, for a download by hand")

    @property
    def file(self) -> str:
        """The archive's file name."""
        return self.urls[0].partition("?")[0].rpartition("/")[2]

    @property
    def bytes(self) -> int:
        """The approximate size of the archive."""
        return int(self.gigabytes * 1e9)

    @property
    def unpacked_bytes(self) -> int:
        """The approximate size of its files."""
        return int(self.unpacked_gigabytes * 1e9)


class Archives(Section):
    """Archives by name."""

    each = ArchiveSettings
    model_config = ConfigDict(extra="allow")

    def by_name(self) -> dict[str, ArchiveSettings]:
        """The settings of each archive."""
        return dict(self.model_extra or {})


class DownloadSettings(Section):
    """Where published datasets come from."""

    complete = True
    enabled: bool = setting("false: never download; archives that exist are still unpacked")
    keep_archives: bool = setting("true: keep a downloaded archive after unpacking it")
    attempts: Annotated[int, Ge(1), Le(1000)] = setting("consecutive failures after which the next mirror is tried")
    timeout: Annotated[float, Gt(0), Le(3600)] = setting("seconds without an answer after which an attempt fails")
    archives: Archives = section(Archives, "the archives, by name")


class PrepareSettings(Settings):
    """`musicreclass prepare`."""

    download: DownloadSettings = section(DownloadSettings, "where published datasets come from")
    table: str | None = setting("CSV or Parquet file to write the features of every track to")
    verify: bool = setting(
        "true: decode every recording, look for damage, copies and leaks; exit code 1 if there are any"
    )


class AnalyzeSettings(Settings):
    """`musicreclass analyze`."""

    data: DataSettings = section(DataSettings, "the source of tracks")
    output: Text | None = setting("folder to write to, instead of outputs/analysis/<data>")
    tracks_per_class: Annotated[int, Ge(1), Le(1000)] = setting(
        "largest number of recordings per genre in its mean spectrogram"
    )
    example_seconds: Annotated[float, Ge(1), Le(30)] = setting("largest length of an example recording, in seconds")


class TrainSettings(Settings):
    """`musicreclass train`."""

    data: DataSettings = section(DataSettings, "the source of tracks")
    model: ModelSettings = section(ModelSettings, "the network or estimator")
    optimizer: OptimizerSettings = section(OptimizerSettings, "the optimizer")
    scheduler: SchedulerSettings = section(SchedulerSettings, "the learning rate schedule")
    augmentation: AugmentationSettings = section(AugmentationSettings, "augmentation of training clips")
    early_stopping: EarlyStoppingSettings = section(EarlyStoppingSettings, "when training stops early")
    callbacks: CallbacksSettings = section(CallbacksSettings, "callbacks of Lightning during the training of a network")
    logger: LoggerSettings = section(LoggerSettings, "what is logged")
    trainer: TrainerSettings = section(TrainerSettings, "how networks are trained")
    class_weight: Literal["none", "balanced"] = setting(
        "none | balanced: weight classes by the training split's counts"
    )
    evaluate: SplitNames = setting("splits to score a finished run on")
    allow_untrained_classes: bool = setting(
        "true: train although classes that are scored have no training track", default=False
    )
    force: bool = setting("true: train again and replace a finished run")
    if_locked: Literal["wait", "error"] = setting("if another process trains the same run: wait | error")
    run_dir: str | None = setting("folder of this run, instead of outputs/<name>-<signature>")

    def weighted(self) -> dict[str, Weighted]:
        """As in `Settings`, with the model first."""
        return {"model": self.model, **super().weighted()}


BY_TARGET: dict[str, type[Target]] = {
    "musicreclass.features.demo.Demo": DemoSettings,
    "musicreclass.data.sources.demo.DemoAudio": DemoSettings,
    "musicreclass.data.sources.fma_features.FMAFeatures": FMASettings,
    "musicreclass.data.sources.fma_audio.FMAAudio": FMASettings,
    "musicreclass.data.sources.gtzan.GTZAN": GTZANSettings,
    "musicreclass.data.sources.gtzan.GTZANFeatures": GTZANSettings,
    "musicreclass.data.sources.msd.MSDFeatures": MSDSettings,
    "musicreclass.data.sources.table_file.TableFile": TableFileSettings,
    "musicreclass.data.sources.csv_recordings.CSVRecordings": CSVRecordingsSettings,
    "musicreclass.data.sources.folder.GenreFolders": GenreFoldersSettings,
    "musicreclass.data.combined.CombinedAudio": CombinedSettings,
    "musicreclass.data.combined.CombinedTable": CombinedSettings,
    "musicreclass.models.mlp.MLP": MLPSettings,
    "musicreclass.models.layer_probe.LayerProbe": LayerProbeSettings,
    "musicreclass.models.cnn.CNN": CNNSettings,
    "musicreclass.models.cnn.PlainCNN": PlainCNNSettings,
    "musicreclass.models.openjmla_finetune.OpenJMLA": OpenJMLASettings,
    "musicreclass.features.feature_data.FeatureData": JoinedSettings,
    "musicreclass.features.fma518.extractor.FMA518": FMA518Settings,
    "musicreclass.models.musicnn.MusiCNNEncoder": MusiCNNEncoderSettings,
    "musicreclass.models.huggingface.HuggingFaceEncoder": HuggingFaceEncoderSettings,
    "musicreclass.models.openjmla.OpenJMLAEncoder.from_checkpoint": OpenJMLAEncoderSettings,
    "sklearn.calibration.CalibratedClassifierCV": CalibratedSettings,
    "xgboost.XGBClassifier": XGBoostSettings,
    "xgboost.sklearn.XGBClassifier": XGBoostSettings,
}
TASK_SETTINGS: dict[str, type[Settings]] = {
    "train": TrainSettings,
    "prepare": PrepareSettings,
    "analyze": AnalyzeSettings,
}
