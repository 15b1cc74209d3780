"""Tiny random checkpoints of the families of audio encoders in transformers, and recordings for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import musicreclass.augmentation.transforms  # noqa: F401  (makes torchaudio importable)

transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'transformers>=4.57,<6'")

SPEECH: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "conv_dim": [8, 8, 8],
    "conv_stride": [5, 4, 4], "conv_kernel": [10, 8, 4], "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
CLAP_TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 50,
}
CLAP_AUDIO = {
    "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 16, "window_size": 4,
    "spec_size": 64, "num_mel_bins": 16, "projection_dim": 8,
}  # fmt: skip
WHISPER = {
    "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "vocab_size": 60, "max_source_positions": 50, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "max_target_positions": 16,
}  # fmt: skip
VIT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_length": 128}
FAMILIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {  # class, configuration, feature extractor
    "wav2vec2": ("Wav2Vec2", {**SPEECH, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}, {}),
    "hubert": ("Hubert", SPEECH, {"do_normalize": False}),
    "wavlm": ("WavLM", SPEECH, {}),
    "data2vec": ("Data2VecAudio", {**SPEECH, "num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 3}, {}),
    "ast": ("AST", VIT, {"max_length": 128}),
    "clap": ("Clap", {"text_config": CLAP_TEXT, "audio_config": CLAP_AUDIO, "projection_dim": 8},
             {"feature_size": 16, "max_length_s": 1, "truncation": "rand_trunc"}),
    "clap_fused": ("Clap", {"text_config": CLAP_TEXT, "audio_config": {**CLAP_AUDIO, "enable_fusion": True}, "projection_dim": 8},
                   {"feature_size": 16, "max_length_s": 1, "truncation": "fusion"}),
    "whisper": ("Whisper", WHISPER, {"chunk_length": 1}),
}  # fmt: skip


def save_checkpoint(folder: Path, family: str, kind: str = "Model", seed: int = 0) -> Any:
    """A tiny random checkpoint, written by transformers; returns the network."""
    name, config, extractor = FAMILIES[family]
    torch.manual_seed(seed)
    settings = getattr(transformers, f"{name}Config")(**config)
    network = getattr(transformers, f"{name}{kind}")(settings).eval()
    network.save_pretrained(folder)
    prefix = name if name in ("AST", "Clap", "Whisper") else "Wav2Vec2"
    getattr(transformers, f"{prefix}FeatureExtractor")(**extractor).save_pretrained(folder)
    return network


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def library(folder: Path, tracks: int = 18, seconds: float = 1.3) -> Path:
    rng, t = np.random.default_rng(0), np.arange(round(16000 * seconds)) / 16000
    for i in range(tracks):
        path = folder / ("low", "high")[i % 2] / f"artist {i // 2}" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        tone = 0.3 * np.sin(2 * np.pi * (200, 4000)[i % 2] * t)
        soundfile.write(path, tone + 0.01 * rng.standard_normal(len(t)), 16000)
    return folder
