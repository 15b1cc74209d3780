"""Settings of training: optimizer, schedule, augmentation, loggers, callbacks, trainer."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Le, Len, MultipleOf
from pydantic import ConfigDict

from musicreclass.config.fields import (
    Auto,
    Count,
    Natural,
    NonNegative,
    Positive,
    Probability,
    Rule,
    ordered,
    setting,
)
from musicreclass.config.settings.models import Rate
from musicreclass.config.settings.section import Section, Target

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]  # as PyTorch Lightning names them
Gain = Annotated[list[float], Len(2, 2), ordered(-120, 120), Rule("[lowest, highest] in dB, within -120 and 120")]
Tempo = Annotated[list[float], Len(2, 2), ordered(0.25, 4), Rule("[slowest, fastest], within 0.25 and 4")]
Shift = Annotated[list[float], Len(2, 2), ordered(-24, 24), Rule("[lowest, highest] in semitones, within -24 and 24")]
Ratio = Annotated[list[float], Len(2, 2), ordered(-60, 120), Rule("[lowest, highest] in dB, within -60 and 120")]
PitchStep = Annotated[float, Ge(0.5), Le(48), MultipleOf(0.5), Rule("a multiple of 0.5 semitones, at least 0.5")]
DEBUGGING = (
    "limit_train_batches",
    "limit_valid_batches",
    "diagnosis",
)  # keys of `trainer` for runs that are no results


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
    monitor: Literal[
        "valid/loss", "valid/accuracy", "valid/macro_f1", "valid/roc_auc", "valid/pr_auc", "train/loss"
    ] = setting("metric that selects the best epoch and controls early stopping and scheduler=plateau")
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
