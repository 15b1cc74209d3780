"""Any audio encoder of the transformers package, from a local folder: wav2vec 2.0, HuBERT, WavLM, Data2Vec, AST, CLAP, Whisper, ..."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from musicreclass.config.messages import brief
from musicreclass.errors import ConfigError, Problem, WeightsError
from musicreclass.models.encoder import ALL_LAYERS, LayeredEncoder, update_with_tensors
from musicreclass.models.weights.huggingface_folder import CONFIG, PREPROCESSOR, CheckpointFolder, read_folder

VERSION = 1  # increase when the vectors change but settings, configuration and weights do not
DEFAULT_SECONDS = 10.0  # of windows, if the front end has no length
VOLATILE = ("_name_or_path", "transformers_version")  # keys of config.json that no vector depends on
UNUSED = ("masked_spec_embed",)  # parameters that are used in training only; some checkpoints lack them
AUDIO_INPUTS = ("input_values", "input_features")
SPECIAL_TOKENS = ("cls_token", "distillation_token")  # of AST, before the tokens of the patches
REMEDY = "pip install 'transformers>=4.57,<6'"


class HuggingFaceEncoder(LayeredEncoder):
    """An audio encoder of transformers, with the front end of its checkpoint.

    A recording is cut into max(1, round(length / window)) evenly spaced windows; a shorter one is repeated to fill a window. If
    the front end has a fixed length (AST, CLAP, Whisper), shorter windows are repeated to fill it. Hidden states are averaged
    over time, and over frequency if they have this axis; class tokens do not count.

    Args:
        checkpoint: a folder written by `save_pretrained`: config.json, preprocessor_config.json, safetensors files.
        layer: `last`; a number, 0 for the input of the first block; or `all`. One pass computes and stores them all.
        window_seconds: length of a window; None for that of the front end, 10 s if it has none.

    Attributes:
        tower: the network; of CLAP the audio part, of Whisper the encoder.
        extractor: the front end.
        window, length: samples of a window, and of what the front end receives.

    Raises:
        ConfigError: if transformers is not installed, or a setting does not fit the checkpoint.
        WeightsError: if the checkpoint cannot be used, see `read_folder`.
    """

    def __init__(self, checkpoint: str, layer: int | str = "last", window_seconds: float | None = None) -> None:
        super().__init__()
        folder = read_folder(Path(checkpoint).expanduser())
        self.extractor = make_extractor(folder)
        self.tower = load_tower(folder)
        self.sample_rate = int(self.extractor.sampling_rate)
        self._set_window(window_seconds)
        tower_config: Any = self.tower.config
        self.has_fusion = bool(getattr(tower_config, "enable_fusion", False))
        names = [name.rpartition(".")[2] for name, _ in self.tower.named_parameters()]
        self.special_tokens = sum(name in SPECIAL_TOKENS for name in names)
        self.digests = {"model": digest(folder.config), "preprocessor": digest(folder.preprocessor)}
        widths = self._measure(folder.path)
        self.layers = {str(k): [f"layer_{k}/{i}" for i in range(width)] for k, width in enumerate(widths)}
        self.select(self._checked_layer(str(layer)))
        self.eval()

    def _set_window(self, seconds: float | None) -> None:
        fixed = fixed_length(self.extractor)
        window = round(seconds * self.sample_rate) if seconds else fixed or round(DEFAULT_SECONDS * self.sample_rate)
        if fixed is not None and window > fixed:
            longest = f"{fixed / self.sample_rate:g}"
            line = f"features.window_seconds={seconds}: the checkpoint takes at most {longest} s; set null"
            raise ConfigError([Problem(line, "window_too_long", "features.window_seconds", seconds, "null")])
        self.window, self.length = max(1, window), fixed or max(1, window)

    @torch.inference_mode()
    def _measure(self, folder: Path) -> list[int]:
        """The width of each layer, measured on a window of silence."""
        try:
            states = self.hidden_states(self.windows(torch.zeros(self.window)))
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError, KeyError) as error:
            line = f"{folder}: the model returns no hidden states for a window of {self.window / self.sample_rate:g} s"
            line += f" ({brief(error)}); features.window_seconds sets another length"
            raise WeightsError(line, "encoder_failed", folder) from error
        return [self.pooled(state).shape[1] for state in states]

    def _checked_layer(self, layer: str) -> str:
        last = str(len(self.layers) - 1)
        layer = last if layer == "last" else layer
        if layer not in (*self.layers, ALL_LAYERS):
            line = f"features.layer={layer}: must be last, all or a number from 0 to {last}"
            raise ConfigError([Problem(line, "invalid_value", "features.layer", layer, "last")])
        return layer

    def settings_of(self, layer: str) -> dict[str, Any]:
        """See `LayeredEncoder`."""
        return {"version": VERSION, **self.digests, "layer": layer, "window": self.window}

    def fingerprint_with(self, settings: dict[str, Any], columns: list[str]) -> str:
        """See `Encoder`; the weights are read once."""
        text = f"{type(self).__qualname__}\0{sorted(settings.items())}\0{columns}\0{self._weights_digest}"
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def _weights_digest(self) -> str:
        weights = hashlib.sha256()
        update_with_tensors(weights, self.tower)
        return weights.hexdigest()

    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        """Cut a recording (n,) into windows, and apply the front end to each: (windows, ...)."""
        samples = waveform.float().cpu().numpy()
        if not len(samples):
            raise ValueError("the recording has no samples")
        if len(samples) < self.window:
            samples = np.resize(samples, self.window)  # repeats it
        count, last_start = max(1, round(len(samples) / self.window)), len(samples) - self.window
        starts = [last_start * k // max(1, count - 1) for k in range(count)]
        inputs = [self.front_end(samples[start : start + self.window]) for start in starts]
        return torch.from_numpy(np.concatenate(inputs)).to(waveform.device)

    def front_end(self, window: np.ndarray) -> np.ndarray:
        """The input of the network for one window, (1, ...) float32."""
        state = np.random.get_state()  # noqa: NPY002 (CLAP's extractor draws numbers that are not used)
        inputs = self.extractor(np.resize(window, self.length), sampling_rate=self.sample_rate, return_tensors="np")
        np.random.set_state(state)  # noqa: NPY002
        return np.asarray(inputs[self.extractor.model_input_names[0]], np.float32)

    def hidden_states(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """The hidden states of each layer, (B, T, D) or (B, D, F, T); the last is the network's output, after normalisation."""
        more = {"is_longer": windows.new_zeros((len(windows), 1), dtype=torch.bool)} if self.has_fusion else {}
        output = self.tower(windows, **more, output_hidden_states=True, return_dict=True)
        return [*output.hidden_states[:-1], output.last_hidden_state]

    def pooled(self, state: torch.Tensor) -> torch.Tensor:
        """The mean of hidden states over time and frequency, float32 (B, D)."""
        return state.float().mean((2, 3)) if state.ndim == 4 else state[:, self.special_tokens :].float().mean(1)

    def embed_layers(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """See `LayeredEncoder`."""
        return [self.pooled(state) for state in self.hidden_states(windows)]


def import_transformers() -> ModuleType:
    """The transformers package, silenced.

    Raises:
        ConfigError: if it is not installed or cannot be imported.
    """
    try:
        import transformers
        from transformers.models.auto import configuration_auto, feature_extraction_auto, modeling_auto  # noqa: F401

        import musicreclass.augmentation.transforms  # noqa: F401  (makes torchaudio importable, which transformers imports)
    except ImportError as error:
        reason = "is not installed" if error.name == "transformers" else f"cannot be imported ({brief(error)})"
        line = f"features=huggingface: transformers {reason}: {REMEDY}"
        raise ConfigError([Problem(line, "missing_plugin", "features", "huggingface", REMEDY)]) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def make_extractor(folder: CheckpointFolder) -> Any:
    """The checkpoint's feature extractor.

    Raises:
        WeightsError: if transformers has no such class, or it is none for audio.
    """
    auto = import_transformers().models.auto.feature_extraction_auto
    path, model_type = folder.path / PREPROCESSOR, str(folder.config.get("model_type"))
    names = auto.FEATURE_EXTRACTOR_MAPPING_NAMES
    name = str(folder.preprocessor.get("feature_extractor_type") or names.get(model_type))
    kind = auto.feature_extractor_class_from_name(name) if name in names.values() else None
    if kind is None:
        line = f"{path}: feature_extractor_type={name}: transformers has no such feature extractor; code of a checkpoint is not executed"
        raise WeightsError(line, "unsupported_format", path, name)
    try:
        extractor = kind.from_dict(folder.preprocessor)
        valid = 1000 <= int(extractor.sampling_rate) <= 768_000
    except Exception as error:  # whatever wrong values lead to
        raise WeightsError(f"{path}: invalid settings of {name} ({brief(error)})", "damaged_file", path) from error
    if not valid:
        raise WeightsError(f"{path}: sampling_rate={extractor.sampling_rate}", "damaged_file", path)
    return extractor


def load_tower(folder: CheckpointFolder) -> nn.Module:
    """The audio encoder of a checkpoint, float32, in eval mode.

    Raises:
        WeightsError: if transformers does not include its type, or the weights do not fit config.json.
    """
    auto = import_transformers().models.auto
    path, model_type = folder.path / CONFIG, folder.config.get("model_type")
    if model_type not in auto.configuration_auto.CONFIG_MAPPING_NAMES:
        line = f"{path}: model_type={model_type}: not included in the installed transformers; code of a checkpoint is not executed"
        raise WeightsError(line, "unsupported_format", path, model_type)
    try:
        config = auto.configuration_auto.CONFIG_MAPPING[model_type].from_dict(folder.config)
        network_class = auto.modeling_auto.MODEL_MAPPING[type(config)]
        if network_class.main_input_name not in AUDIO_INPUTS and not hasattr(config, "audio_config"):
            raise ValueError(f"reads {network_class.main_input_name}")
        with torch.device("meta"):  # takes no memory
            size = sum(parameter.numel() for parameter in network_class._from_config(config).parameters())
    except Exception as error:
        line = f"{path}: not the configuration of an audio encoder of type {model_type} ({brief(error)})"
        raise WeightsError(line, "unsupported_format", path, model_type) from error
    tensors = folder.tensors()
    stored = sum(tensor.numel() for tensor in tensors.values())
    if size > 4 * stored:  # a network may share tensors, or the file may lack a decoder
        line = f"{folder.path}: config.json describes {size:,} parameters, and the weights have {stored:,}"
        raise WeightsError(line, "wrong_weights", folder.path)
    try:
        network, report = network_class.from_pretrained(
            None, config=config, state_dict=tensors, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:
        line = f"{folder.path}: the weights do not fit config.json ({brief(error)})"
        raise WeightsError(line, "wrong_weights", folder.path) from error
    prefix, tower = audio_tower(network)
    missing = sorted(n for n in report["missing_keys"] if n.startswith(prefix) and not n.endswith(UNUSED))
    missing += [str(name) for name in report["mismatched_keys"]]
    if missing:
        line = f"{folder.path}: the weights lack {len(missing)} tensors of the encoder, such as {missing[0]}"
        raise WeightsError(line, "wrong_weights", folder.path, missing[0])
    return tower.eval()


def audio_tower(network: Any) -> tuple[str, nn.Module]:
    """The prefix and the module of a network's audio encoder."""
    if hasattr(network, "audio_model"):
        return "audio_model.", network.audio_model
    return ("encoder.", network.get_encoder()) if network.config.is_encoder_decoder else ("", network)


def fixed_length(extractor: Any) -> int | None:
    """The samples that a front end always takes; None if it takes any number."""
    if type(extractor).__name__ == "ASTFeatureExtractor":  # frames of 25 ms every 10 ms
        rate = int(extractor.sampling_rate)
        return (int(extractor.max_length) - 1) * (rate // 100) + rate // 40
    lengths = (getattr(extractor, name, None) for name in ("n_samples", "nb_max_samples"))
    return next((length for length in lengths if isinstance(length, int)), None)


def digest(values: dict[str, Any]) -> str:
    """A hash of a configuration, without the keys that no vector depends on."""
    text = json.dumps({key: value for key, value in values.items() if key not in VOLATILE}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]
