"""Networks: trained by Lightning, stored and used for prediction as a plain nn.Module."""

from __future__ import annotations

import importlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musicreclass.classifiers.base import Classifier, Workspace
from musicreclass.classifiers.class_weights import balanced_weights, positive_weights
from musicreclass.classifiers.model_folder import ModelCard, reading
from musicreclass.classifiers.network_builder import (
    fit_standardize,
    given_arguments,
    is_plain,
    make_augmentation,
    make_network,
)
from musicreclass.classifiers.network_trial import try_network
from musicreclass.classifiers.novelty import is_silent
from musicreclass.config.hydra_adapter import instantiate
from musicreclass.config.settings.data import CLIPS
from musicreclass.data.recordings import AudioData
from musicreclass.data.sampling import LoaderSettings, derive_seed
from musicreclass.data.table import TableData
from musicreclass.data.track_data import TrackData
from musicreclass.errors import ConfigError, DataError, Problem, RunError, trust_remedy
from musicreclass.evaluation.predictions import Predictions
from musicreclass.models.frontend import ClipDescription, LogMel, int16_to_float
from musicreclass.models.weights.torch_files import check_pickle
from musicreclass.plurals import counted
from musicreclass.training.memory import MicroBatches
from musicreclass.training.module import GenreModule, TrainingPlan, crop_logits
from musicreclass.training.trainer import FitSettings, NetworkTrainer

PACKAGED = "musicreclass.models."  # networks of these modules load without --trust
PREDICTION_ROWS, PREDICTION_CLIPS = 4096, 64  # per forward pass
STATISTICS_TRACKS = 1024  # training tracks that the log-mel is standardised over, at most
DESCRIBED_TRACKS = 256  # of each split, whose clips are described to detect novelty
SILENT = "silent (the peak is below -80 dB)"
SHOWN_CLIPS = 8  # training clips in the figure of a run
log = logging.getLogger("musicreclass")


class NetworkClassifier(Classifier):
    """A network that Lightning trains and that predicts without it.

    A network may define `end_training()`, called once with the weights of the best epoch, and `saved_arguments()`: arguments,
    besides those of its YAML, that create it when a run is loaded.

    Args:
        card: the description of the model.
        weighted: whether the loss weighs all classes equally.
        settings: how to train; None for a network that was loaded.
    """

    def __init__(self, card: ModelCard, weighted: bool = False, settings: FitSettings | None = None) -> None:
        self.card = card
        self.weighted = weighted
        self.settings = settings
        self.fit_summary = {}
        if settings is not None:
            torch.manual_seed(derive_seed(settings.plan.seed))
            self.augment = make_augmentation(settings.augmentation) if card.input == "waveform" else None
            if self.augment is not None and self.augment.has_masks and card.frontend is None:
                keys = "augmentation.time_masks, augmentation.freq_masks"
                message = f"{keys}: the model reads the waveform, so there is no spectrogram to mask; set both to 0"
                raise ConfigError([Problem(message, "no_spectrogram", "augmentation.time_masks")])
        self.network = make_network(card)
        network: Any = self.network[1]
        if hasattr(network, "saved_arguments"):
            self.card = replace(card, arguments={**card.arguments, **network.saved_arguments()})
        self.device = torch.device("cpu")
        self.scoring = MicroBatches(PREDICTION_ROWS if card.input == "table" else PREDICTION_CLIPS)
        if settings is not None:
            try_network(self.network, card)

    def fit(self, data: TrackData, work: Workspace) -> None:
        """Train until the validation metric stops improving, and restore the weights of the best epoch."""
        assert self.settings is not None
        settings, profile = self.settings, self.settings.profile
        if isinstance(data, AudioData):
            assert self.augment is not None
            loading = settings.loader_settings(crop_factor=self.augment.crop_factor)
            module = self._clip_module(data, loading, work)
        else:
            assert isinstance(data, TableData)
            module = self._table_module(data, work)
            loading = settings.loader_settings(transform=torch.no_grad()(self.network[0]))
        if profile.channels_last:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if profile.compile:
            module.network.compile()
        micro_batch = profile.micro_batch if work.micro_batch == "profile" else work.micro_batch
        trainer = NetworkTrainer(settings, work.folder, micro_batch, work.note_micro_batch)
        summary = trainer.fit(module, data, loading, work.resume)
        if summary is None:  # only rank 0 scores and saves
            return
        network: Any = self.network[1]
        if hasattr(network, "end_training"):
            network.end_training()
        self.fit_summary = summary
        self.device = profile.device if self.card.input == "waveform" else torch.device("cpu")
        self.network.to(self.device).eval()

    def _table_module(self, data: TableData, work: Workspace) -> GenreModule:
        """A module over features that the loader standardises, with statistics of the training split."""
        front, network = self.network
        _, x, y = data.arrays("train")
        if self.card.scale:
            fit_standardize(front, x)
        has_segments = data.row_count("valid") > data.size("valid")
        return GenreModule(network, self.card.logits, self._plan(y), work.log_epoch, has_segments=has_segments)

    def _clip_module(self, data: AudioData, loading: LoaderSettings, work: Workspace) -> GenreModule:
        """A module over clips; the log-mel is standardised over the middle of training tracks."""
        front, network = self.network
        short = data.count_short()
        if short:
            log.warning(
                "%s recordings are shorter than data.clip_seconds=%s: they are repeated to fill a clip",
                f"{short:,}",
                data.clip_seconds,
            )
        if isinstance(front, LogMel):
            middles = data.scoring_loader("train", loading, crops=1, limit=STATISTICS_TRACKS)
            front.fit(int16_to_float(x[:, 0]) for x, _, _ in middles)
        plan = self._plan(data.split_rows("train")[2])
        module = GenreModule(network, self.card.logits, plan, work.log_epoch, front, self.augment)
        if work.show_clips is not None and isinstance(front, LogMel):
            assert self.augment is not None
            x, y, draw = (t[:SHOWN_CLIPS] for t in next(iter(data.train_loader(loading))))
            clips, _, keys = module.augment_batch(x, y, draw)
            spectrograms = self.augment.spectrogram(front(clips), keys)[:, 0].numpy()
            names = [
                "|".join(data.classes[k] for k in row.nonzero()[:, 0]) if row.ndim else data.classes[row] for row in y
            ]
            work.show_clips(spectrograms, names, front.hop_length / data.sample_rate)
        return module

    def _plan(self, y: np.ndarray) -> TrainingPlan:
        """The training plan; with balanced class weights if `weighted`."""
        assert self.settings is not None
        if not self.weighted:
            return self.settings.plan
        values = (
            positive_weights(y[:, : self.card.logits]) if self.card.is_multi else balanced_weights(y, self.card.logits)
        )
        weight = torch.from_numpy(values.astype(np.float32))
        return replace(self.settings.plan, class_weight=weight)

    @torch.inference_mode()
    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """See `Classifier`; x is features (n, F), clips (n, samples), or several clips per track (n, crops, samples).

        A class that only test has tracks of has probability 0.
        """
        self.network.eval()
        tracks = torch.from_numpy(x)
        clips = max(1, x[0].size // x.shape[-1]) if self.card.input == "waveform" and len(x) else 1  # of a track

        def score(size: int) -> torch.Tensor:
            parts = tracks.split(max(1, size // clips))
            return torch.cat([self._probabilities(part.to(self.device)) for part in parts])

        probability = np.empty((0, self.card.logits))
        if len(x):
            probability = self.scoring.run(len(x) * clips, score, restore=lambda: None).numpy()
        return np.pad(probability, ((0, 0), (0, len(self.card.classes) - self.card.logits)))

    def _probabilities(self, x: torch.Tensor) -> torch.Tensor:
        is_multi = self.card.is_multi
        logits = (
            (self.network(x) if self.card.input == "table" else crop_logits(self.network, x, is_multi)).cpu().double()
        )
        return torch.sigmoid(logits) if is_multi else torch.softmax(logits, 1)

    def predict(self, data: TrackData, split: str) -> Predictions:
        """See `Classifier`; the probabilities of a track are the mean over its evenly spaced crops."""
        if self.card.input == "table":
            return super().predict(data, split)
        if not isinstance(data, AudioData):
            raise DataError(
                f"the model takes a waveform, but the data provides {' and '.join(data.provides)}", kind="wrong_input"
            )
        trained, provided = (tuple(getattr(source, name) for name in CLIPS) for source in (self.card, data))
        if provided != trained:
            clips = "{} Hz, clips of {} s, {} per track, a single one from the {}"
            message = f"the data has {clips.format(*provided)}, but the model was trained on {clips.format(*trained)}"
            raise DataError(message, kind="wrong_clips", key="data", value=provided)
        ids, _, _ = data.split_rows(split)
        loading = LoaderSettings() if self.settings is None else self.settings.loader_settings()
        probabilities = [self.predict_proba(x.numpy()) for x, _, _ in data.scoring_loader(split, loading)]
        return Predictions.of(ids, np.concatenate(probabilities), self.card.classes, data.labels())

    @property
    def description_width(self) -> int:
        """See `Classifier`."""
        return super().description_width if self.card.input == "table" else ClipDescription.width

    @torch.inference_mode()
    def describe(self, x: np.ndarray) -> np.ndarray:
        """See `Classifier`; clips are described by their spectrum, see `ClipDescription`."""
        return (
            super().describe(x)
            if self.card.input == "table"
            else ClipDescription(self.card.sample_rate)(torch.from_numpy(x)).numpy()
        )

    def descriptions(self, data: TrackData, split: str) -> np.ndarray:
        """See `Classifier`; of clips for at most `DESCRIBED_TRACKS` tracks."""
        if not isinstance(data, AudioData):
            return super().descriptions(data, split)
        loading = LoaderSettings() if self.settings is None else self.settings.loader_settings()
        batches = data.scoring_loader(split, loading, limit=DESCRIBED_TRACKS)
        return np.concatenate([self.describe(x.numpy()) for x, _, _ in batches])

    def unlike(self, x: np.ndarray) -> list[str | None]:
        """See `Classifier`; silence is always unlike the training tracks."""
        reasons = super().unlike(x)
        if self.card.input == "table":
            return reasons
        return [SILENT if silent else reason for silent, reason in zip(is_silent(x), reasons, strict=True)]

    def write(self, folder: Path) -> None:
        """Write the weights, those of the preprocessing included, as tensors of the CPU."""
        weights = {name: value.cpu() for name, value in self.network.state_dict().items()}
        torch.save(weights, folder / "weights.pt")

    @classmethod
    def load(cls, folder: Path, card: ModelCard, trust: tuple[str, ...]) -> NetworkClassifier:
        """See `Classifier`."""
        module, _, name = card.target.rpartition(".")
        if not (module.startswith(PACKAGED) or any(module == m or module.startswith(f"{m}.") for m in trust)):
            message = f"{folder}: needs {card.target}; if you trust that code, {trust_remedy(module)}"
            raise RunError(message, kind="untrusted_module", key=folder, value=card.target, suggestion=module)
        with reading(folder / "meta.json"):
            network_class = getattr(importlib.import_module(module), name)
            if network_class.__module__ != module or not is_plain(card.arguments):
                message = f"{folder}/meta.json: {card.target} is not a network of {module} made from plain values"
                raise RunError(message, kind="invalid_model", key=folder / "meta.json", value=card.target)
        with reading(folder / "weights.pt"):
            # weights.pt contains the pretrained weights too, so their original file is not needed
            arguments = {**card.arguments, **({"checkpoint": None} if "checkpoint" in card.arguments else {})}
            check_pickle(folder / "weights.pt")
            weights = torch.load(folder / "weights.pt", map_location="cpu", weights_only=True)
            if module.startswith(PACKAGED):
                check_size(replace(card, arguments=arguments), weights)
            classifier = cls(replace(card, arguments=arguments))
            classifier.card = card
            classifier.network.load_state_dict(weights, assign=True)
        classifier.network.eval()
        return classifier


def check_size(card: ModelCard, weights: dict[str, torch.Tensor]) -> None:
    """Make sure that a network is as large as its weights, before it is created: its arguments could ask for any size.

    Args:
        card: of a network of this package.
        weights: that it will hold.

    Raises:
        ValueError: if it is larger.
    """
    with torch.device("meta"):  # without memory
        network = instantiate({"_target_": card.target, **card.arguments}, **given_arguments(card))
    size = sum(value.numel() for value in network.state_dict().values())
    stored = sum(min(value.numel(), len(value.untyped_storage()) // value.element_size()) for value in weights.values())
    if size > stored:
        raise ValueError(f"the network has {counted(size, 'value')}, and the file {stored:,}")
