"""Every setting: its type, range, choices and help line. The YAML files of conf/ hold the defaults.

A section with a `_target_` creates a class of this package or a foreign one. Keys of a foreign class that are not declared
here are checked against the signature of the class and the type of the default in YAML, see `allowed_keys`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Len, MinLen, MultipleOf
from pydantic import BaseModel, ConfigDict, Field

from musicreclass.config.fields import (
    Auto,
    Count,
    Natural,
    NonNegative,
    Positive,
    Probability,
    Rule,
    Text,
    ordered,
    setting,
)

SPLITS = ("train", "valid", "test")
SplitName = Literal["train", "valid", "test"]
Precision = Literal["32-true", "16-mixed", "bf16-mixed"]  # as PyTorch Lightning names them
Input = Literal["table", "waveform"]
Share = Annotated[float, Ge(0), Le(0.9)]
SplitNames = Annotated[list[SplitName], MinLen(1), Rule("a list of train, valid, test that is not empty")]
Gain = Annotated[list[float], Len(2, 2), ordered(-120, 120), Rule("[lowest, highest] in dB, within -120 and 120")]
Tempo = Annotated[list[float], Len(2, 2), ordered(0.25, 4), Rule("[slowest, fastest], within 0.25 and 4")]
Shift = Annotated[list[float], Len(2, 2), ordered(-24, 24), Rule("[lowest, highest] in semitones, within -24 and 24")]
Ratio = Annotated[list[float], Len(2, 2), ordered(-60, 120), Rule("[lowest, highest] in dB, within -60 and 120")]
PitchStep = Annotated[float, Ge(0.5), Le(48), MultipleOf(0.5), Rule("a number of semitones, 0.5 or a multiple of it")]
SIGNED = (  # top-level keys that can change a result; no other key is part of a run's signature
    "data", "features", "model", "optimizer", "scheduler", "early_stopping", "augmentation", "trainer", "class_weight", "seed",
)  # fmt: skip
TRAINING = ("optimizer", "scheduler", "early_stopping", "trainer")  # of them, those that an estimator does not read
CLIPS = ("sample_rate", "clip_seconds", "eval_crops", "eval_crop_position")  # in `data`, for models over clips
ESTIMATORS = ("sklearn.", "xgboost.", "lightgbm.", "catboost.")  # libraries whose fit reads no training settings


def section(kind: type[Section], help_line: str) -> Any:
    """A field with further settings below it; where no YAML file has the section, nothing in it is set."""
    return Field(default_factory=kind, description=help_line)


class Section(BaseModel):
    """Settings under one key; a key that is not declared is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    def as_dict(self) -> dict[str, Any]:
        """The settings that were given, as plain values under the names of the YAML files."""
        return self.model_dump(by_alias=True, exclude_unset=True, serialize_as_any=True)

    def signed(self) -> dict[str, Any]:
        """Those of them that can change a result."""
        unsigned = {
            name
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and not field.json_schema_extra.get("signed", True)
        }
        return self.model_dump(by_alias=True, exclude_unset=True, exclude=unsigned, serialize_as_any=True)


class Target(Section):
    """Settings of a class; keys beyond those declared go to the class."""

    model_config = ConfigDict(extra="allow")

    target: str | None = Field(None, alias="_target_", description="the class that these settings create")

    def arguments(self, *without: str) -> dict[str, Any]:
        """What the class is created with: all given settings but `_target_` and those named."""
        return {name: value for name, value in self.as_dict().items() if name != "_target_" and name not in without}


class Weighted(Target):
    """Settings of a class that may load pretrained weights."""

    checkpoint: Text | None = setting("file or name of the pretrained weights; random: untrained weights")

    def weights_file(self) -> Path | None:
        """The file that `checkpoint` names, if it exists; None for the name of a published network, or `random`."""
        name = self.checkpoint
        if name is None or not ("/" in name or Path(name).suffix):
            return None
        path = Path(name).expanduser()
        return path if path.is_file() else None


class SplitSettings(Section):
    """How tracks are divided into train, valid and test."""

    protocol: Text = setting("auto | random | grouped | a name that the data defines; chosen with data/split=")
    valid: Annotated[float, Gt(0), Le(0.9)] = setting("share of the tracks that validate")
    test: Share = setting("share of the tracks that test")
    folds: Annotated[int, Ge(3), Le(9)] = setting("number of folds")
    seed: Natural = setting("draws the split; independent of the run's seed, so that seeds share their tracks")


class DataSettings(Target):
    """A source of tracks; keys that a source does not know are rejected by its class."""

    provides: Annotated[list[Input], MinLen(1)] = setting("what a batch holds: waveform, table", signed=False)
    split: SplitSettings = setting("")
    root: str | None = setting("folder of the dataset: data.root=DIR", signed=False)
    path: Text = setting("CSV or Parquet file with a row per track: data.path=FILE", signed=False)
    store: Text = setting("folder of the store", signed=False)
    on_missing: Literal["impute", "drop", "error"] = setting("missing and infinite values: impute | drop | error")
    min_class_tracks: Count = setting("classes with fewer tracks are left out and counted")
    # of recordings
    sample_rate: Annotated[int, Ge(1000)] = setting("Hz; set by the model or the encoder")
    cache: Literal["waveform", "none"] = setting(
        "waveform: decode every recording once into the store | none: decode what each batch needs", signed=False
    )
    clip_seconds: Positive = setting("length of a clip: training takes one random crop per track and epoch")
    eval_crops: Count = setting("evenly spaced crops of a track whose probabilities are averaged in scoring")
    eval_crop_position: Literal["middle", "start"] = setting("position of a single crop: middle | start")
    sampler: Literal["none", "balanced"] = setting("balanced: as many draws per epoch, every class equally often")
    on_bad_file: Literal["skip", "error"] = setting(
        "files that cannot be decoded: skip and count | error", signed=False
    )
    max_bad_fraction: Annotated[float, Ge(0), Le(1)] = setting(
        "share of a split's files that may be skipped", signed=False
    )
    min_seconds: Positive = setting("shorter recordings count as bad files")
    max_tracks: Annotated[int, Ge(2)] | None = setting("tracks of each split, all classes alike; for debugging")
    workers: Count | Auto = setting("threads that decode", signed=False)


class DemoSettings(DataSettings):
    """The synthetic genres."""

    clips_per_artist: Count = setting("6 genres x 16 artists x this many clips")


class FMASettings(DataSettings):
    """FMA's clips or features."""

    subset: Literal["small", "medium", "large", "full"] = setting("each subset contains the smaller ones")
    subset_exact: bool = setting("true: only the tracks that FMA assigns to this very subset")
    feature_sets: list[str] = setting("feature sets to use, as [mfcc,spectral_contrast]; empty: all")
    truncated_clips: Literal["keep", "drop"] = setting("tracks with truncated clips (features are of whole tracks)")


class GTZANSettings(DataSettings):
    """GTZAN's clips or feature table."""

    fold: Natural = setting("with data/split=artist_folds: the fold that tests; the next one validates")
    seconds: Literal[30, 3] = setting("30: a row per clip | 3: rows of segments, which stay with their clip")


class TableFileSettings(DataSettings):
    """Any table with a row per track."""

    id_column: str = setting("column of the track ids")
    label_column: str = setting("column of the genres")
    split_column: str | None = setting("column with train, valid, test")
    group_column: str | None = setting("column of the artists; a group stays on one side of a grouped split")
    ignore_columns: list[str] = setting("columns that are no features")


class GenreFoldersSettings(DataSettings):
    """A folder for each genre."""

    group_by: Literal["auto", "folder", "tag", "none"] = setting(
        "where the artist is found: the folder below the genre's, or the file's tag; auto: the first that exists"
    )


class FrontendSettings(Section):
    """The log-mel spectrogram ahead of a network."""

    n_fft: Annotated[int, Ge(16)] = setting("samples per frame")
    hop_length: Count = setting("samples from frame to frame")
    n_mels: Annotated[int, Ge(8)] = setting("mel bands")
    f_min: NonNegative = setting("lower edge of the lowest band, Hz")
    f_max: Positive | None = setting("upper edge of the highest band, Hz; null: half the sample rate")


class ModelSettings(Weighted):
    """A network or an estimator."""

    input: Input = setting("what the model reads: table | waveform")
    scale: bool = setting("standardise the features by the training split", default=True)
    sample_rate: Annotated[int, Ge(1000)] | None = setting("Hz; recordings are resampled to it")
    clip_seconds: Positive | None = setting("length of a clip; sets data.clip_seconds")
    eval_crops: Count | None = setting("sets data.eval_crops")
    eval_crop_position: Literal["middle", "start"] | None = setting("sets data.eval_crop_position")
    frontend: FrontendSettings | None = setting("log-mel spectrogram; null: the network reads the waveform")
    n_jobs: int | None = setting("threads; null: as the hardware profile says", signed=False)

    about: ClassVar[tuple[str, ...]] = (  # what a model's YAML says beside the arguments of its class
        "input", "scale", "sample_rate", "clip_seconds", "eval_crops", "eval_crop_position", "frontend",
    )  # fmt: skip

    @property
    def is_estimator(self) -> bool:
        """Whether the model is known to read none of the training settings."""
        return str(self.target).startswith(ESTIMATORS)


class MLPSettings(ModelSettings):
    """A multilayer perceptron over a feature table."""

    hidden: list[Count] = setting("widths of the hidden layers")
    dropout: Probability = setting("probability of dropping a hidden unit in training")


class CNNSettings(ModelSettings):
    """The residual network over the log-mel."""

    channels: Count = setting("channels of the first of four stages; each further stage has twice as many")
    depth: Count = setting("residual blocks per stage")
    dropout: Probability = setting("dropout before the last layer")


class PlainCNNSettings(ModelSettings):
    """The plain convolutional baseline."""

    channels: Count = setting("channels of the first of three blocks; each further block has twice as many")
    hidden: Count = setting("units of the hidden layer")
    dropout: Probability = setting("dropout before the last layer")


class OpenJMLASettings(ModelSettings):
    """OpenJMLA's encoder with a head."""

    prefix: str | None = setting("prefix of the encoder's tensors, where the file holds several encoders")
    pooling: Literal["mean", "cls", "cls_mean"] = setting("mean of the patch tokens | cls: the class token | cls_mean")
    window_seconds: Positive | None = setting("length of a window; null: 29.92 s, as in pretraining")
    position: Literal["cut", "interpolate"] = setting("position embeddings of windows of another length")
    trainable: Literal["head", "last_blocks", "all"] = setting("head | last_blocks: those blocks too | all")
    last_blocks: Count = setting("number of blocks, from the top, for trainable=last_blocks")
    hidden: Natural = setting("units of the head's hidden layer; 0: a linear head")
    dropout: Probability = setting("dropout in the head")
    layer_decay: Annotated[float, Gt(0), Le(1)] = setting("learning rate of a block relative to the block above it")
    unfreeze_every: Count | None = setting("epochs until the next block is unfrozen; null: all from the start")


class XGBoostSettings(ModelSettings):
    """Boosted trees; XGBoost itself checks most of these only while it trains, and some not at all."""

    n_estimators: Count | None = setting("boosting rounds at most; the best round on the validation split counts")
    learning_rate: Annotated[float, Gt(0), Le(1)] | None = setting("shrinkage of each tree")
    max_depth: Natural | None = setting("depth of a tree; 0: no limit")
    max_bin: Annotated[int, Ge(2)] | None = setting("histogram bins of a feature")
    subsample: Annotated[float, Gt(0), Le(1)] | None = setting("share of the tracks that each tree sees")
    colsample_bytree: Annotated[float, Gt(0), Le(1)] | None = setting("share of the features that each tree sees")
    early_stopping_rounds: Count | None = setting("rounds without a better validation loss; null: never stop early")


class FeatureSettings(Weighted):
    """What turns recordings into a table."""

    sample_rate: Annotated[int, Ge(1000)] = setting("Hz; recordings are resampled to it")
    folder: Text = setting("folder of the weights", signed=False)
    precision: Precision | Auto = setting("of the encoder; auto: trainer.precision", default="32-true")
    cache: Literal["waveform", "none"] = setting("sets data.cache: recordings are decoded for this once", signed=False)
    batch_size: Count = setting("windows in one pass", default=8, signed=False)


class MusiCNNEncoderSettings(FeatureSettings):
    """A musicnn tagger as an encoder."""

    layer: Text = setting("which layer gives the vectors")
    wheel: str | None = setting("for prepare without a network: the wheel that holds the weights", signed=False)


class OpenJMLAEncoderSettings(FeatureSettings):
    """OpenJMLA's encoder."""

    prefix: str | None = setting("prefix of the encoder's tensors, where the file holds several encoders")
    pooling: Literal["mean", "cls", "cls_mean"] = setting("mean of the patch tokens | cls: the class token | cls_mean")
    window_seconds: Positive | None = setting("length of a window; null: as in pretraining")
    position: Literal["cut", "interpolate"] = setting("position embeddings of windows of another length")


class OptimizerSettings(Target):
    """The optimizer of a network."""

    lr: Positive = setting("learning rate")
    weight_decay: NonNegative = setting("weight decay")
    fused: bool | None = setting("one kernel for all parameters")


class SchedulerSettings(Target):
    """The learning rate schedule of a network."""

    interval: Literal["epoch", "step"] = setting("when the schedule advances")


class EarlyStoppingSettings(Section):
    """When training stops before the last epoch."""

    patience: Natural | None = setting("epochs without a better trainer.monitor; null: train for trainer.max_epochs")
    min_delta: NonNegative = setting("smaller changes are no improvement")


class AugmentationSettings(Target):
    """Augmentation of training clips; validation and test are never augmented. By default every effect is off."""

    gain_db: Gain | None = setting("[lowest, highest] gain in dB, as [-6, 6]; null: off")
    gain_p: Probability = setting("probability that a clip is amplified", default=0.5)
    polarity_p: Probability = setting("probability that a clip is inverted", default=0.0)
    stretch_rate: Tempo | None = setting("[slowest, fastest] tempo at equal pitch, as [0.9, 1.1]; null: off")
    stretch_step: Annotated[float, Ge(0.01), Le(4)] = setting("rates are slowest, slowest + step, ...", default=0.05)
    stretch_p: Probability = setting("probability that a clip is stretched", default=0.5)
    pitch_semitones: Shift | None = setting("[lowest, highest] shift at equal tempo, as [-2, 2]; null: off")
    pitch_step: PitchStep = setting("shifts are lowest, lowest + step, ..., semitones", default=0.5)
    pitch_p: Probability = setting("probability that a clip is shifted", default=0.5)
    noise_snr: Ratio | None = setting("[lowest, highest] ratio of signal to white noise in dB; null: off")
    noise_snr_p: Probability = setting("probability that a clip gets noise at such a ratio", default=0.5)
    noise_amplitude: Annotated[float, Ge(0), Le(1)] = setting(
        "standard deviation of white noise, full scale is 1; 0: off", default=0.0
    )
    noise_amplitude_p: Probability = setting("probability that a clip gets that noise", default=0.5)
    time_masks: Natural = setting("SpecAugment masks over time in each clip; 0: off", default=0)
    time_mask_frames: Natural = setting("widest mask over time, frames", default=20)
    freq_masks: Natural = setting("SpecAugment masks over frequency in each clip; 0: off", default=0)
    freq_mask_bands: Natural = setting("widest mask over frequency, mel bands", default=16)
    mixup_alpha: Annotated[float, Ge(0), Le(100)] = setting(
        "mix clips in pairs, weights from Beta(alpha, alpha); 0: off", default=0.0
    )


class HardwareSettings(Section):
    """How a run uses the machine; `auto` is decided by what the machine has."""

    kind: Literal["jetson", "rtx", "datacenter"] | None = setting(
        "the machine that the profile is for; others get a warning"
    )
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = setting("auto | cpu | gpu | cuda | mps")
    devices: Count = setting("GPUs (with accelerator=cpu: processes) that train one network on each machine")
    nodes: Count = setting("machines; srun or torchrun starts the processes")
    strategy: Literal["auto", "ddp"] = setting("of several devices: ddp")
    precision: Precision = setting("what trainer.precision=auto is")
    threads: Count | Auto = setting("CPU threads; auto: as many as this process may use")
    workers: Count | Auto = setting("threads that decode audio; auto: as many as this process may use")
    prefetch: Count | Auto = setting("batches of audio that are prepared ahead")
    pin_memory: bool | Auto = setting("page-locked batches, which a GPU fetches by itself")
    channels_last: bool | Auto = setting("memory layout that is fastest for half precision on GPUs")
    tf32: bool | Auto = setting("let a GPU round float32 to TF32 in multiplications; auto: never under 32-true")
    compile: bool | Auto = setting("torch.compile the network; auto: if there is a compiler")
    micro_batch: Count | Auto | None = setting("tracks per forward pass; auto: as many as fit, measured; null: all")
    memory_margin: Annotated[float, Ge(0), Le(0.9)] | Auto = setting("share of the free memory that auto leaves unused")
    gpu_share: Annotated[float, Gt(0), Le(1)] | None = setting(
        "share of a GPU's memory that PyTorch may allocate; null: all"
    )
    empty_cache_every: Count | Auto | None = setting("batches after which unused GPU memory is released; null: never")
    monitor_interval: Annotated[float, Ge(0.1), Le(86400)] | Auto | None = setting(
        "seconds between two readings of the sensors; null: none"
    )


class LoggerSettings(Section):
    """What is logged beside history.csv."""

    tensorboard: bool = setting("write TensorBoard event files")


class EncoderSettings(Section):
    """How networks run."""

    precision: Precision | Auto = setting("32-true | bf16-mixed | 16-mixed; auto: as the hardware profile says")


class TrainerSettings(EncoderSettings):
    """How networks are trained; estimators read none of it."""

    max_epochs: Count = setting("epochs at most")
    batch_size: Count = setting("effective batch: tracks per optimizer step")
    monitor: Literal["valid/loss", "valid/accuracy", "valid/macro_f1", "train/loss"] = setting(
        "metric of the best epoch, early stopping and the plateau scheduler; train/loss: to overfit on purpose"
    )
    label_smoothing: Annotated[float, Ge(0), Le(1)] = setting("of the training loss; the validation loss has none")
    gradient_clip_norm: Positive | None = setting("largest norm of the gradient; null: unclipped")


class PathSettings(Section):
    """Folders."""

    outputs: Text = setting("run folders")
    cache: Text = setting("the store of expensive results")
    data: str | None = setting("folder with GTZAN/ and FMA/")
    models: str = setting("folder of pretrained weights")


S = TypeVar("S", bound="Settings")


class Settings(Section):
    """What the tasks that build from configuration have in common."""

    data: DataSettings | None = setting("the source of tracks")
    features: FeatureSettings = section(FeatureSettings, "what turns recordings into a table")
    hardware: HardwareSettings = section(HardwareSettings, "how the machine is used")
    paths: PathSettings = section(PathSettings, "folders")
    trainer: EncoderSettings = section(EncoderSettings, "how networks run")
    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = setting("draws everything that is random")
    choices: dict[str, str] = setting("the chosen option of each group")

    def with_precision(self: S, precision: str) -> S:
        """These settings with a precision in place of every `auto`."""
        changes: dict[str, Any] = {}
        if self.trainer.precision == "auto":
            changes["trainer"] = self.trainer.model_copy(update={"precision": precision})
        if self.features.precision == "auto":
            changes["features"] = self.features.model_copy(update={"precision": precision})
        return self.model_copy(update=changes)


class PrepareSettings(Settings):
    """`musicreclass prepare`."""

    table: str | None = setting("CSV file for the features of every track")


class TrainSettings(Settings):
    """`musicreclass train`."""

    data: DataSettings = section(DataSettings, "the source of tracks")
    model: ModelSettings = section(ModelSettings, "the network or estimator")
    optimizer: OptimizerSettings = section(OptimizerSettings, "the optimizer")
    scheduler: SchedulerSettings = section(SchedulerSettings, "the learning rate schedule")
    augmentation: AugmentationSettings = section(AugmentationSettings, "augmentation of training clips")
    early_stopping: EarlyStoppingSettings = section(EarlyStoppingSettings, "when training stops early")
    logger: LoggerSettings = section(LoggerSettings, "what is logged")
    trainer: TrainerSettings = section(TrainerSettings, "how networks are trained")
    class_weight: Literal["none", "balanced"] = setting("balanced: class weights from the training split's counts")
    evaluate: SplitNames = setting("the splits that a finished run is scored on")
    force: bool = setting("true: train again, over a finished run of the same name")
    if_locked: Literal["wait", "error"] = setting("while another process works on the same run")
    run_dir: str | None = setting("folder of this run, instead of outputs/<name>-<signature>")


BY_TARGET: dict[str, type[Target]] = {
    "musicreclass.features.demo.Demo": DemoSettings,
    "musicreclass.data.sources.demo.DemoAudio": DemoSettings,
    "musicreclass.data.sources.fma_features.FMAFeatures": FMASettings,
    "musicreclass.data.sources.fma_audio.FMAAudio": FMASettings,
    "musicreclass.data.sources.gtzan.GTZAN": GTZANSettings,
    "musicreclass.data.sources.gtzan.GTZANFeatures": GTZANSettings,
    "musicreclass.data.sources.table_file.TableFile": TableFileSettings,
    "musicreclass.data.sources.folder.GenreFolders": GenreFoldersSettings,
    "musicreclass.models.mlp.MLP": MLPSettings,
    "musicreclass.models.cnn.CNN": CNNSettings,
    "musicreclass.models.cnn.PlainCNN": PlainCNNSettings,
    "musicreclass.models.openjmla_finetune.OpenJMLA": OpenJMLASettings,
    "musicreclass.models.musicnn.MusiCNNEncoder": MusiCNNEncoderSettings,
    "musicreclass.models.openjmla.OpenJMLAEncoder.from_checkpoint": OpenJMLAEncoderSettings,
    "xgboost.XGBClassifier": XGBoostSettings,
    "xgboost.sklearn.XGBClassifier": XGBoostSettings,
}
TASKS: dict[str, type[Settings]] = {"train": TrainSettings, "prepare": PrepareSettings}
