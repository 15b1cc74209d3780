"""The audio encoder of a transformers checkpoint with its front end, as features=huggingface and model=huggingface use it."""

from __future__ import annotations

import hashlib
import json
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from musicreclass.config.messages import brief
from musicreclass.config.plugins import TRANSFORMERS
from musicreclass.errors import ConfigError, Problem, WeightsError
from musicreclass.models.weights.huggingface_folder import CONFIG, PREPROCESSOR, CheckpointFolder
from musicreclass.plurals import counted

DEFAULT_SECONDS = 10.0  # of windows, if the front end has no length
VOLATILE = ("_name_or_path", "transformers_version")  # keys of config.json that no vector depends on
UNUSED = ("masked_spec_embed",)  # parameters that are used in training only; some checkpoints lack them
AUDIO_INPUTS = ("input_values", "input_features")
SPECIAL_TOKENS = ("cls_token", "distillation_token")  # of AST, before the tokens of the patches


class AudioTower(nn.Module):
    """An audio encoder of transformers, float32 and in eval mode, with the front end of its checkpoint.

    A recording is cut into max(1, round(length / window)) evenly spaced windows; a shorter one is repeated to fill a window. If
    the front end has a fixed length (AST, CLAP, Whisper), shorter windows are repeated to fill it. Hidden states are averaged
    over time, and over frequency if they have this axis; class tokens do not count.

    Args:
        folder: the checkpoint; without weights files the weights are random, and loaded later.
        window_seconds: length of a window; None for that of the front end, 10 s if it has none.
        section: of the settings, for messages: `features` or `model`.

    Attributes:
        network: of CLAP the audio part, of Whisper the encoder.
        extractor: the front end.
        sample_rate: of the waveforms, Hz.
        window, length: samples of a window, and of what the front end receives.

    Raises:
        ConfigError: if transformers is not installed, or the window does not fit the checkpoint.
        WeightsError: if the checkpoint cannot be used, see `read_folder`.
    """

    def __init__(self, folder: CheckpointFolder, window_seconds: float | None, section: str = "features") -> None:
        super().__init__()
        self.section, self.path = section, folder.path
        self.extractor = make_extractor(folder)
        self.network: Any = load_network(folder)
        self.sample_rate = int(self.extractor.sampling_rate)
        self._set_window(window_seconds)
        self.has_fusion = bool(getattr(self.network.config, "enable_fusion", False))
        names = [name.rpartition(".")[2] for name, _ in self.network.named_parameters()]
        self.special_tokens = sum(name in SPECIAL_TOKENS for name in names)

    def _set_window(self, seconds: float | None) -> None:
        fixed = fixed_length(self.extractor)
        window = round(seconds * self.sample_rate) if seconds else fixed or round(DEFAULT_SECONDS * self.sample_rate)
        if fixed is not None and window > fixed:
            key, longest = f"{self.section}.window_seconds", f"{fixed / self.sample_rate:g}"
            line = f"{key}={seconds}: the checkpoint takes at most {longest} s; set null"
            raise ConfigError([Problem(line, "window_too_long", key, seconds, "null")])
        self.window, self.length = max(1, window), fixed or max(1, window)

    @torch.inference_mode()
    def measure(self) -> list[int]:
        """The width of each layer, measured on a window of silence.

        Raises:
            WeightsError: if the network returns no hidden states for it.
        """
        try:
            states = self.hidden_states(self.windows(torch.zeros(self.window)))
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError, KeyError) as error:
            line = (
                f"{self.path}: the model returns no hidden states for a window of {self.window / self.sample_rate:g} s"
            )
            line += f" ({brief(error)}); {self.section}.window_seconds sets another length"
            raise WeightsError(line, "encoder_failed", self.path) from error
        return [self.pooled(state).shape[1] for state in states]

    def blocks(self, count: int) -> list[nn.Module]:
        """The blocks between the layers, from the input to the output.

        Args:
            count: of the blocks, one less than layers.

        Raises:
            WeightsError: if the network has no list of as many blocks.
        """
        lists: list[nn.ModuleList] = [
            m for m in self.network.modules() if isinstance(m, nn.ModuleList) and len(m) == count
        ]
        if not lists:
            line = f"{self.path}: the network has no list of {counted(count, 'block')}; use model.trainable=head"
            raise WeightsError(line, "unsupported_format", self.path)
        return [*max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()))]

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

    def forward(self, windows: torch.Tensor, **options: Any) -> Any:
        """The output of transformers' network for windows (B, ...)."""
        if self.has_fusion:
            options["is_longer"] = windows.new_zeros((len(windows), 1), dtype=torch.bool)
        return self.network(windows, **options, return_dict=True)

    def hidden_states(self, windows: torch.Tensor) -> list[torch.Tensor]:
        """The hidden states of each layer, (B, T, D) or (B, D, F, T); the last is the network's output, after normalisation."""
        output = self(windows, output_hidden_states=True)
        return [*output.hidden_states[:-1], output.last_hidden_state]

    def vectors(self, windows: torch.Tensor) -> torch.Tensor:
        """The vectors of the last layer, float32 (B, D)."""
        return self.pooled(self(windows).last_hidden_state)

    def pooled(self, state: torch.Tensor) -> torch.Tensor:
        """The mean of hidden states over time and frequency, float32 (B, D)."""
        return state.float().mean((2, 3)) if state.ndim == 4 else state[:, self.special_tokens :].float().mean(1)


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
        line = f"huggingface: transformers {reason}: {TRANSFORMERS.remedy()}"
        raise ConfigError([Problem(line, "missing_plugin", "transformers", None, TRANSFORMERS.remedy())]) from error
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


def load_network(folder: CheckpointFolder) -> nn.Module:
    """The audio encoder of a checkpoint, float32, in eval mode; with random weights if the folder names no files of weights.

    Raises:
        WeightsError: if transformers does not include its type, or the weights do not fit config.json.
    """
    network_class, config, size = architecture(folder)
    if not folder.weights:
        return audio_tower(network_class._from_config(config, dtype=torch.float32))[1].eval()
    tensors = folder.tensors()
    stored = sum(tensor.numel() for tensor in tensors.values())
    if size > 4 * stored:  # a network may share tensors, or the file may lack a decoder
        line = f"{folder.path}: config.json describes {counted(size, 'parameter')}, and the weights have {stored:,}"
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
        line = f"{folder.path}: the weights lack {counted(len(missing), 'tensor')} of the encoder, such as {missing[0]}"
        raise WeightsError(line, "wrong_weights", folder.path, missing[0])
    return tower.eval()


def architecture(folder: CheckpointFolder) -> tuple[Any, Any, int]:
    """The class of a checkpoint's network, its configuration, and its number of parameters.

    Raises:
        WeightsError: if transformers does not include its type, or cannot create it.
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
    return network_class, config, size


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
