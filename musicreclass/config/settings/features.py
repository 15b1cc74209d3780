"""Settings of `features`: encoders and extractors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import ConfigDict, Field

from musicreclass.config.fields import (
    Auto,
    Count,
    Natural,
    Positive,
    Text,
    setting,
)
from musicreclass.config.settings.data import SampleRate
from musicreclass.config.settings.section import Section, Weighted
from musicreclass.config.settings.training import Precision


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
    wheel: Text | None = setting("wheel with the weights, for prepare without internet access", signed=False)


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
