"""The settings of each task, and which class of settings belongs to each `_target_`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Le, MinLen

from musicreclass.config.fields import (
    Rule,
    Seed,
    Text,
    distinct,
    setting,
)
from musicreclass.config.settings.data import (
    CombinedSettings,
    CSVRecordingsSettings,
    DataSettings,
    DemoSettings,
    FMASettings,
    GenreFoldersSettings,
    GTZANSettings,
    JamendoSettings,
    MagnaTagATuneSettings,
    MSDSettings,
    SplitName,
    TableFileSettings,
)
from musicreclass.config.settings.download import DownloadSettings
from musicreclass.config.settings.features import (
    FeatureSettings,
    FMA518Settings,
    HuggingFaceEncoderSettings,
    JoinedSettings,
    MusiCNNEncoderSettings,
    OpenJMLAEncoderSettings,
)
from musicreclass.config.settings.machine import HardwareSettings, PathSettings
from musicreclass.config.settings.models import (
    CalibratedSettings,
    CNNSettings,
    HuggingFaceSettings,
    LayerProbeSettings,
    MLPSettings,
    ModelSettings,
    OpenJMLASettings,
    PlainCNNSettings,
    XGBoostSettings,
)
from musicreclass.config.settings.section import Section, Target, Weighted, section
from musicreclass.config.settings.training import (
    AugmentationSettings,
    CallbacksSettings,
    EarlyStoppingSettings,
    EncoderSettings,
    LoggerSettings,
    OptimizerSettings,
    SchedulerSettings,
    TrainerSettings,
)

SplitNames = Annotated[list[SplitName], MinLen(1), distinct, Rule("a non-empty list of train, valid, test, each once")]
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
S = TypeVar("S", bound="Settings")


class Settings(Section):
    """Settings of all tasks that are configured by YAML files."""

    data: DataSettings | None = setting("the source of tracks")
    task: Literal["auto", "single", "multi"] = setting(
        "one label a track, or several: single | multi | auto, as the data has", default="auto"
    )
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


class PrepareSettings(Settings):
    """`musicreclass prepare`."""

    download: DownloadSettings = section(DownloadSettings, "where published datasets come from")
    table: Text | None = setting("CSV or Parquet file to write the features of every track to")
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
    run_dir: Text | None = setting("folder of this run, instead of outputs/<name>-<signature>")

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
    "musicreclass.data.sources.magnatagatune.MagnaTagATune": MagnaTagATuneSettings,
    "musicreclass.data.sources.magnatagatune.MagnaTagATuneFeatures": MagnaTagATuneSettings,
    "musicreclass.data.sources.mtg_jamendo.MTGJamendo": JamendoSettings,
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
    "musicreclass.models.huggingface_finetune.HuggingFace": HuggingFaceSettings,
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
