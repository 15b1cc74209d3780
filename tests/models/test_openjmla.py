"""OpenJMLA's encoder matches its specification and is found in checkpoints of several layouts."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from musicreclass.errors import ConfigError, WeightsError
from musicreclass.models.openjmla import OpenJMLAEncoder, crop_or_repeat
from musicreclass.models.openjmla_finetune import OpenJMLA

SHORT = 1.12  # window length in seconds: 7 columns of patches


def published_tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """The 150 tensors of the specification, with random weights large enough for every layer to matter."""
    shapes = {"cls_token": (1, 1, 768), "pos_embed": (1, 936, 768), "patch_embed.projection.weight": (768, 3, 16, 16),
              "patch_embed.projection.bias": (768,)}  # fmt: skip
    for i in range(12):
        for name, shape in {
            "ln1.weight": (768,), "ln1.bias": (768,), "attn.qkv.weight": (2304, 768), "attn.qkv.bias": (2304,),
            "attn.proj.weight": (768, 768), "attn.proj.bias": (768,), "ln2.weight": (768,), "ln2.bias": (768,),
            "ffn.layers.0.0.weight": (3072, 768), "ffn.layers.0.0.bias": (3072,),
            "ffn.layers.1.weight": (768, 3072), "ffn.layers.1.bias": (768,),
        }.items():  # fmt: skip
            shapes[f"layers.{i}.{name}"] = shape
    shapes |= {"ln1.weight": (768,), "ln1.bias": (768,)}
    rng = torch.Generator().manual_seed(seed)
    tensors = {name: 0.05 * torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    for name in tensors:
        if name.endswith(("ln1.weight", "ln2.weight")):
            tensors[name] += 1
    return tensors


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A file with the layout of the published epoch_20.pth."""
    path = tmp_path_factory.mktemp("models") / "epoch_20.pth"
    torch.save({"state_dict": published_tensors(), "author": "MMSelfSup"}, path)
    return path


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


def music(seconds: float, seed: int = 0) -> torch.Tensor:
    """Tones over quiet noise, (1, n) at 16 kHz."""
    t = torch.arange(round(16000 * seconds)) / 16000
    rng = torch.Generator().manual_seed(seed)
    tones = sum(torch.sin(2 * math.pi * f * t) for f in (220.0 + seed, 523.0, 1760.0, 5000.0))
    return (0.1 * tones * (1 + torch.sin(3 * t)) + 0.01 * torch.randn(len(t), generator=rng)).unsqueeze(0)


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
    from musicreclass.data.audio.decoding import read

    reference_mel = features.MelSpectrogram(
        sr=16000, n_fft=400, win_length=400, hop_length=160, n_mels=80, fmin=50, fmax=8000, verbose=False
    )
    for path in sorted((real_data / "GTZAN").rglob("*.00000.wav"))[:4]:
        x = torch.from_numpy(read(path, 16000).astype(np.float32) / 32768).unsqueeze(0)
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
    cut = OpenJMLAEncoder.from_checkpoint(checkpoint, window_seconds=SHORT)
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
    cls, patches = OpenJMLAEncoder.from_checkpoint(checkpoint, window_seconds=SHORT)(x)
    pooled = {}
    for pooling in ("cls", "mean", "cls_mean"):
        encoder = OpenJMLAEncoder.from_checkpoint(checkpoint, pooling=pooling, window_seconds=SHORT)
        pooled[pooling] = encoder.embed(encoder.windows(x[0]))
        assert pooled[pooling].shape == (1, len(encoder.columns))
    assert torch.allclose(pooled["cls"], cls, atol=1e-5)
    assert torch.allclose(pooled["mean"], patches.mean(1), atol=1e-5)
    assert torch.equal(pooled["cls_mean"], torch.cat([pooled["cls"], pooled["mean"]], 1))


def test_fingerprint_depends_on_weights_and_settings(checkpoint, encoder):
    others = [OpenJMLAEncoder.from_checkpoint(checkpoint, pooling="cls"), OpenJMLAEncoder.from_checkpoint("random"),
              OpenJMLAEncoder.from_checkpoint(checkpoint, window_seconds=SHORT)]  # fmt: skip
    assert len({e.fingerprint() for e in (encoder, *others)}) == 4
    assert OpenJMLAEncoder.from_checkpoint("random").fingerprint() == others[1].fingerprint()


SMALL = {"cls_token": torch.zeros(1, 1, 768)}


def save(path: Path, value: object) -> Path:
    torch.save(value, path)
    return path


def test_encoder_is_found_under_any_prefix(tmp_path):
    tensors = published_tensors()
    nested = {f"audio_encoder.vit.{name}": tensor.half() for name, tensor in tensors.items()}
    path = save(tmp_path / "big.pth", {"model": {"module": {**nested, "lm.ln1.weight": torch.ones(768)}}, "epoch": 4})
    encoder = OpenJMLAEncoder.from_checkpoint(path)
    assert torch.equal(encoder.ln1.bias, tensors["ln1.bias"].half().float())
    assert encoder.ln1.bias.dtype == torch.float32


def test_a_file_with_two_encoders_needs_a_prefix(tmp_path):
    tensors = published_tensors()
    path = save(tmp_path / "ema.pth", {"state_dict": tensors, "ema": tensors})  # shared storage is saved once
    for prefix, kind in ((None, "ambiguous_prefix"), ("other.", "unknown_prefix")):
        with pytest.raises(WeightsError) as caught:
            OpenJMLAEncoder.from_checkpoint(path, prefix=prefix)
        assert (caught.value.kind, caught.value.key) == (kind, str(path))
        assert "'ema.', 'state_dict.'" in str(caught.value)
    assert OpenJMLAEncoder.from_checkpoint(path, prefix="ema.").ln1.bias.shape == (768,)


def bad_files(folder: Path, checkpoint: Path) -> list[tuple[Path, str, str]]:
    """Files that do not contain the encoder, each with the kind of error and a name that the message contains."""
    import argparse

    # Expanded tensors: one number each on disk.
    tensors = {name: torch.zeros(1).expand(tensor.shape) for name, tensor in published_tensors().items()}
    with checkpoint.open("rb") as file:
        truncated = file.read(1_000_000)
    contents = {
        "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 345\n", "git_lfs_pointer"),
        "page": (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "web_page"),
        "empty": (b"", "empty_file"),
        "text": (b"hello, world", "damaged_file"),
        "zip": (b"PK\x03\x04 and nothing more", "damaged_file"),
        "truncated": (truncated, "damaged_file"),
    }
    files = [(folder / "absent.pth", "file_not_found", "")]
    for name, (content, kind) in contents.items():
        (folder / f"{name}.pth").write_bytes(content)
        files.append((folder / f"{name}.pth", kind, ""))
    missing = {name: tensor for name, tensor in tensors.items() if "layers.3.ffn" not in name}
    complex_bias = torch.zeros(768, dtype=torch.complex64)
    for name, value, kind, named in (
        ("missing", {"state_dict": missing}, "wrong_tensors", "layers.3.ffn.layers.0.0.weight"),
        ("shape", {**tensors, "pos_embed": torch.zeros(1, 197, 768)}, "wrong_tensors", "pos_embed is (1, 197, 768)"),
        ("foreign", {"state_dict": SMALL, "args": argparse.Namespace(a=1)}, "foreign_objects", "argparse.Namespace"),
        ("meta", {**tensors, "cls_token": torch.empty(1, 1, 768, device="meta")}, "wrong_tensors", "cls_token"),
        ("complex", {**tensors, "ln1.bias": complex_bias}, "wrong_tensors", "complex64"),
        ("duplicate", {"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}}, "duplicate_tensor", "'a.b'"),
        ("unrelated", {"conv": torch.zeros(3)}, "wrong_tensors", "conv"),
    ):
        files.append((save(folder / f"{name}.pth", value), kind, named))
    return files


def test_bad_files_are_reported_in_one_line(tmp_path, checkpoint):
    for path, kind, named in bad_files(tmp_path, checkpoint):
        with pytest.raises(WeightsError) as caught:
            OpenJMLAEncoder.from_checkpoint(path)
        assert (caught.value.kind, caught.value.key) == (kind, str(path))
        assert "\n" not in str(caught.value), path
        assert str(caught.value).startswith(f"{path}: ")
        assert named in str(caught.value)


@pytest.mark.parametrize(("settings", "kind"), [
    ({"pooling": "max"}, "invalid_choice"), ({"position": "wrap"}, "invalid_choice"),
    ({"window_seconds": 40}, "window_too_long"), ({"window_seconds": 0.1}, "window_too_short"),
])  # fmt: skip
def test_invalid_settings(settings, kind):
    with pytest.raises(ConfigError) as caught:
        OpenJMLAEncoder(**settings)
    ((key, value),) = settings.items()
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.value) == (kind, key, value)


HEAD = 768 * 256 + 256 + 256 * 10 + 10
BLOCK = 7_087_872


@pytest.mark.parametrize(("trainable", "count"), [
    ({"trainable": "head"}, HEAD), ({"trainable": "head", "hidden": 0}, 768 * 10 + 10),
    ({"trainable": "last_blocks"}, HEAD + 2 * BLOCK + 1536), ({"trainable": "all"}, HEAD + 86_366_208),
])  # fmt: skip
def test_trainable_parameters(trainable, count):
    network = OpenJMLA(10, "random", window_seconds=SHORT, **trainable).train()
    trained = [p for group in network.parameter_groups() for p in group["params"]]
    assert sum(p.numel() for p in trained) == count
    assert {id(p) for p in network.parameters() if p.requires_grad} == {id(p) for p in trained}
    assert not any(module.training for module in network.encoder.modules())
    assert network.head.training
    F.cross_entropy(network(music(1.2)), torch.tensor([3])).backward()
    assert all((p.grad is not None) == p.requires_grad for p in network.parameters())


def test_gradual_unfreezing_and_layer_decay():
    network = OpenJMLA(
        4, "random", window_seconds=SHORT, trainable="last_blocks", last_blocks=3, layer_decay=0.5, unfreeze_every=2
    )
    assert [group["lr_scale"] for group in network.parameter_groups()] == [1.0, 1.0, 0.5, 0.25]
    for epoch, blocks in enumerate([0, 0, 1, 1, 2, 2, 3, 3, 3, 3]):
        network.begin_epoch(epoch)
        unfrozen = [i for i, block in enumerate(network.encoder.layers) if next(block.parameters()).requires_grad]
        assert unfrozen == list(range(12 - blocks, 12)), epoch
        assert network.encoder.ln1.weight.requires_grad == (blocks > 0)
        assert not network.encoder.pos_embed.requires_grad
