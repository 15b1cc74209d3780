"""Settings of `model`: networks and estimators."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le

from musicreclass.config.fields import (
    Auto,
    Count,
    NonNegative,
    Positive,
    Probability,
    Rule,
    Seed,
    nonzero,
    setting,
)
from musicreclass.config.settings.data import Crops, Input, SampleRate, Seconds
from musicreclass.config.settings.section import Section, Weighted

Width = Annotated[int, Ge(1), Le(65_536)]
Rate = Annotated[float, Gt(0), Le(1000)]
Jobs = Annotated[int, Ge(-1024), Le(1024), nonzero, Rule("a whole number from -1024 to 1024, not 0")]
ESTIMATORS = (
    "sklearn.",
    "xgboost.",
    "lightgbm.",
    "catboost.",
)  # libraries with a fit that ignores the training settings
PACKAGES = ("musicreclass.", "torch.", *ESTIMATORS)  # with classes that take arguments as declared here


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


class FineTunedSettings(ModelSettings):
    """A pretrained encoder with a head."""

    last_blocks: Count = setting("number of blocks that trainable=last_blocks trains, counted from the top")
    hidden: Annotated[int, Ge(0), Le(65_536)] = setting("units of the head's hidden layer; 0: linear head")
    dropout: Probability = setting("dropout in the head")
    layer_decay: Annotated[float, Gt(0), Le(1)] = setting("learning rate of a block relative to the block above")
    unfreeze_every: Count | None = setting("epochs until the next block is unfrozen; null: unfreeze all at the start")


class OpenJMLASettings(FineTunedSettings):
    """OpenJMLA's encoder with a head."""

    prefix: str | None = setting("prefix of the encoder's tensors in a file with several encoders")
    pooling: Literal["mean", "cls", "cls_mean"] = setting(
        "mean: of the patch tokens | cls: the class token | cls_mean: both"
    )
    window_seconds: Positive | None = setting("length of a window in seconds; null: 29.92, as in pretraining")
    position: Literal["cut", "interpolate"] = setting("position embeddings for other window lengths: cut | interpolate")
    trainable: Literal["head", "last_blocks", "all"] = setting("trained part: head | last_blocks (and the head) | all")


class HuggingFaceSettings(FineTunedSettings):
    """An audio encoder of transformers with a head."""

    names_folder = True
    window_seconds: Positive | None = setting(
        "length of a window in seconds; null: as the checkpoint's front end, 10 s if it has none"
    )
    trainable: Literal["head", "last_blocks", "all", "lora"] = setting(
        "trained part: head | last_blocks (and the head) | all | lora (adapters of all blocks, and the head)"
    )
    lora_rank: Annotated[int, Ge(1), Le(4096)] = setting("rank of the adapters of trainable=lora")
    lora_alpha: Positive = setting("scale of the adapters, multiplied by 1 / lora_rank")


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
