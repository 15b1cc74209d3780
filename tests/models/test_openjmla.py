"""OpenJMLA's encoder matches its specification."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from musicreclass.errors import ConfigError
from musicreclass.models.openjmla import OpenJMLAEncoder, crop_or_repeat
from tests.openjmla import SHORT_WINDOW, music, published_tensors, save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "epoch_20.pth")


@pytest.fixture(scope="module")
def encoder(checkpoint) -> OpenJMLAEncoder:
    return OpenJMLAEncoder.from_checkpoint(checkpoint)


def reference(tensors: dict[str, torch.Tensor], mel: torch.Tensor) -> torch.Tensor:
    """Tokens of one spectrogram (80, T), computed from the specification in float64, one head and one patch at a time."""
    w = {name: tensor.double() for name, tensor in tensors.items()}
    columns = mel.shape[1] // 16
    image = mel.double().expand(3, 80, -1)
    kernel = w["patch_embed.projection.weight"].flatten(1)
    patches = [image[:, 16 * r : 16 * r + 16, 16 * c : 16 * c + 16].flatten() for r in range(5) for c in range(columns)]
    x = torch.stack([kernel @ patch + w["patch_embed.projection.bias"] for patch in patches])
    x = torch.cat([w["cls_token"][0], x]) + w["pos_embed"][0, : len(x) + 1]

    def norm(x, name):
        centred = x - x.mean(1, keepdim=True)
        return (
            centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-6) * w[f"{name}.weight"]
            + w[f"{name}.bias"]
        )

    for i in range(12):
        p = f"layers.{i}."
        q, k, v = (norm(x, p + "ln1") @ w[p + "attn.qkv.weight"].T + w[p + "attn.qkv.bias"]).split(768, 1)
        heads = []
        for h in range(12):
            columns = slice(64 * h, 64 * h + 64)
            weight = torch.exp(q[:, columns] @ k[:, columns].T / 8)
            heads.append(weight / weight.sum(1, keepdim=True) @ v[:, columns])
        x = x + torch.cat(heads, 1) @ w[p + "attn.proj.weight"].T + w[p + "attn.proj.bias"]
        hidden = norm(x, p + "ln2") @ w[p + "ffn.layers.0.0.weight"].T + w[p + "ffn.layers.0.0.bias"]
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = x + hidden @ w[p + "ffn.layers.1.weight"].T + w[p + "ffn.layers.1.bias"]
    return norm(x, "ln1")


@torch.inference_mode()
def test_tokens_match_the_specification(encoder):
    x = music(30)
    cls, patches = encoder(x)
    assert cls.shape == (1, 768)
    assert patches.shape == (1, 935, 768)
    expected = reference(published_tensors(), encoder.mel(x)[0, :, :2992])
    assert (cls[0] - expected[0]).abs().max() < 1e-4
    assert (patches[0] - expected[1:]).abs().max() < 1e-4
    assert (expected[1:] - expected[1:].mean(0)).std() > 0.1  # the tokens differ from each other


@torch.inference_mode()
@pytest.mark.parametrize("seconds", [30.0, 1.3])
def test_front_end_matches_the_published_one(encoder, seconds):
    features = pytest.importorskip("nnAudio.features")
    reference_mel = features.MelSpectrogram(
        sr=16000, n_fft=400, win_length=400, hop_length=160, n_mels=80, fmin=50, fmax=8000, verbose=False
    )
    x = music(seconds)
    expected = (torch.log(reference_mel(x) + 1.1920929e-07) + 4.5) / 4.5
    mel = encoder.mel(x)
    assert mel.shape == expected.shape == (1, 80, 1 + x.shape[1] // 160)
    assert (mel - expected).abs().max() < 1e-4


def test_front_end_matches_the_published_one_on_real_clips(encoder, real_data):
    features = pytest.importorskip("nnAudio.features")
    from musicreclass.data.audio.decoding import decode

    reference_mel = features.MelSpectrogram(
        sr=16000, n_fft=400, win_length=400, hop_length=160, n_mels=80, fmin=50, fmax=8000, verbose=False
    )
    for path in sorted((real_data / "GTZAN").rglob("*.00000.wav"))[:4]:
        x = torch.from_numpy(decode(path, 16000).astype(np.float32) / 32768).unsqueeze(0)
        expected = (torch.log(reference_mel(x) + 1.1920929e-07) + 4.5) / 4.5
        assert (encoder.mel(x) - expected).abs().max() < 1e-4


def test_encoder_has_exactly_the_published_tensors(checkpoint, encoder):
    tensors = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert len(encoder.state_dict()) == 150
    assert sum(p.numel() for p in encoder.parameters()) == 86_366_208
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in encoder.state_dict().items())
    assert not encoder.training


@pytest.mark.parametrize(
    ("length", "times", "start"), [(2991, 3, 2991), (1496, 3, 748), (1000, 3, 4), (900, 5, 754), (7, 429, 6)]
)
def test_short_recordings_are_tiled_an_odd_number_of_times_around_their_centre(length, times, start):
    mel = torch.arange(length).float().expand(1, 2, -1)
    expected = np.tile(np.arange(length), times)
    assert times % 2
    assert (len(expected) - 2992 + 1) // 2 == start
    assert np.array_equal(crop_or_repeat(mel, 2992)[0, 1].numpy(), expected[start : start + 2992])


@torch.inference_mode()
def test_long_recordings_are_cut_into_evenly_spaced_windows(encoder):
    for seconds, count in ((30, 1), (44, 1), (46, 2), (75, 3), (3, 1)):
        assert len(encoder.windows(music(seconds)[0])) == count, seconds
    mel = encoder.mel(music(75))
    windows = encoder.windows(music(75)[0])
    assert torch.equal(windows[0], mel[0, :, :2992])
    assert torch.equal(windows[1], mel[0, :, 2254 : 2254 + 2992])  # (7501 - 2992) // 2
    assert torch.equal(windows[2], mel[0, :, -2992:])


@torch.inference_mode()
def test_other_window_lengths_cut_or_interpolate_the_positions(checkpoint):
    x = music(2)
    cut = OpenJMLAEncoder.from_checkpoint(checkpoint, window_seconds=SHORT_WINDOW)
    assert cut(x)[1].shape == (1, 35, 768)
    grid = published_tensors()["pos_embed"][0, 1:].reshape(5, 187, 768)
    assert torch.equal(cut.positions()[0, 1:], grid[:, :7].reshape(35, 768))
    tensors = published_tensors()
    tensors["pos_embed"] = torch.cat([tensors["pos_embed"][0, :1], grid[:, :7].reshape(35, 768)])[None]
    expected = reference(tensors, cut.mel(x)[0, :, :112])
    assert (cut(x)[0][0] - expected[0]).abs().max() < 1e-4
    interpolated = OpenJMLAEncoder.from_checkpoint(checkpoint, window_seconds=40, position="interpolate")
    flat = torch.ones(1, 936, 768) * torch.arange(768)  # a constant grid stays constant
    interpolated.load_state_dict({"pos_embed": flat}, strict=False)
    assert torch.allclose(interpolated.positions()[0, 1:], flat[0, :1].expand(5 * 250, -1), atol=1e-3)
    expected_positions = (
        F.interpolate(grid.permute(2, 0, 1)[None], (5, 250), mode="bicubic")[0].permute(1, 2, 0).reshape(5 * 250, 768)
    )
    interpolated.load_state_dict({"pos_embed": published_tensors()["pos_embed"]}, strict=False)
    assert torch.allclose(interpolated.positions()[0, 1:], expected_positions, atol=1e-6)


@torch.inference_mode()
def test_pooling(checkpoint):
    x = music(1.2)
    cls, patches = OpenJMLAEncoder.from_checkpoint(checkpoint, window_seconds=SHORT_WINDOW)(x)
    pooled = {}
    for pooling in ("cls", "mean", "cls_mean"):
        encoder = OpenJMLAEncoder.from_checkpoint(checkpoint, pooling=pooling, window_seconds=SHORT_WINDOW)
        pooled[pooling] = encoder.embed(encoder.windows(x[0]))
        assert pooled[pooling].shape == (1, len(encoder.columns))
    assert torch.allclose(pooled["cls"], cls, atol=1e-5)
    assert torch.allclose(pooled["mean"], patches.mean(1), atol=1e-5)
    assert torch.equal(pooled["cls_mean"], torch.cat([pooled["cls"], pooled["mean"]], 1))


def test_fingerprint_depends_on_weights_and_settings(checkpoint, encoder):
    others = [OpenJMLAEncoder.from_checkpoint(checkpoint, pooling="cls"), OpenJMLAEncoder.from_checkpoint("random"),
              OpenJMLAEncoder.from_checkpoint(checkpoint, window_seconds=SHORT_WINDOW)]  # fmt: skip
    assert len({e.fingerprint() for e in (encoder, *others)}) == 4
    assert OpenJMLAEncoder.from_checkpoint("random").fingerprint() == others[1].fingerprint()


@pytest.mark.parametrize(("settings", "kind"), [
    ({"pooling": "max"}, "invalid_value"), ({"position": "wrap"}, "invalid_value"),
    ({"window_seconds": 40}, "window_too_long"), ({"window_seconds": 0.1}, "window_too_short"),
])  # fmt: skip
def test_invalid_settings(settings, kind):
    with pytest.raises(ConfigError) as caught:
        OpenJMLAEncoder(**settings)
    ((key, value),) = settings.items()
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.value) == (kind, key, value)
