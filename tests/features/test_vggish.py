"""The example of a third party's encoder, VGGish, with random weights in the form of torchvggish's file."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.library import write_tone

EXAMPLE = Path(__file__).parents[2] / "examples" / "vggish"
CONVOLUTIONS = {0: (64, 1), 3: (128, 64), 6: (256, 128), 8: (256, 256), 11: (512, 256), 13: (512, 512)}
DENSE = {0: (4096, 12288), 2: (4096, 4096), 4: (128, 4096)}


@pytest.fixture
def vggish(monkeypatch):
    spec = importlib.util.spec_from_file_location("vggish", EXAMPLE / "vggish.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "vggish", module)
    spec.loader.exec_module(module)
    return module


def random_weights() -> dict[str, torch.Tensor]:
    """A state dict with the names and shapes of torchvggish's; the rows of large matrices are views of each other."""
    draw = torch.Generator().manual_seed(0)
    state = {}
    for index, (width, inputs) in CONVOLUTIONS.items():
        weight = torch.randn(width, inputs, 3, 3, generator=draw) * (2 / (9 * inputs)) ** 0.5
        state |= {f"features.{index}.weight": weight, f"features.{index}.bias": torch.zeros(width)}
    for index, (width, inputs) in DENSE.items():
        row = torch.randn(inputs, generator=draw).abs() / inputs
        state[f"embeddings.{index}.weight"] = row.expand(width, inputs)
        state[f"embeddings.{index}.bias"] = torch.linspace(0, 0.1, width)
    return state


def test_the_log_mel_is_that_of_the_published_front_end(vggish):
    librosa = pytest.importorskip("librosa")
    matrix = vggish.mel_matrix()
    assert matrix.shape == (257, 64)
    assert (matrix[0] == 0).all()
    reference = librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None).T
    assert np.abs(matrix.numpy() - reference).max() < 0.05  # its triangles are linear in Hz

    tone = torch.sin(2 * np.pi * 1000 * torch.arange(16000 * 2) / 16000)
    patches = vggish.VGGish.windows(None, tone)
    assert patches.shape == (2, 1, 96, 64)
    assert vggish.VGGish.windows(None, tone[:100]).shape == (1, 1, 96, 64)  # padded with silence
    frame = tone[:400] * (0.5 - 0.5 * torch.cos(2 * np.pi * torch.arange(400) / 400))
    expected = torch.log(torch.fft.rfft(frame, 512).abs() @ matrix + 0.01)
    assert torch.allclose(patches[0, 0, 0], expected, atol=1e-3)  # log of 0.01 and rounding errors
    assert patches[0, 0, 5].argmax() == reference[32].argmax()  # the band of 1000 Hz


@pytest.mark.slow
def test_the_example_runs(run, here, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    torch.save(random_weights(), here / "vggish.pth")
    for genre, tone in (("blues", 220), ("jazz", 880), ("rock", 3520)):
        for i in range(8):
            write_tone(here / "music" / genre / f"{genre} artist {i}" / f"{i}.wav", tone, i)
    arguments = ["--config-dir", str(EXAMPLE / "conf"), "data=folder", "data.root=music", "features=vggish"]
    arguments += ["features.checkpoint=vggish.pth"]
    assert run("prepare", *arguments, "table=vectors.csv").code == 0
    vectors = pd.read_csv(here / "vectors.csv").filter(like="vggish_")
    assert vectors.shape == (24, 128)
    assert np.isfinite(vectors.to_numpy()).all()
    assert (vectors.std() > 0).any()
    assert run("train", *arguments, "model=logreg", "run_dir=r").code == 0


@pytest.mark.slow
def test_weights_are_flattened_as_tensorflow_does(vggish, here):
    torch.save(random_weights(), here / "vggish.pth")
    encoder = vggish.VGGish(here / "vggish.pth")
    x = torch.rand(2, 1, 96, 64)
    with torch.no_grad():
        maps = encoder.features(x)  # (B, 512, 6, 4)
        flat = torch.stack([maps[:, c, h, w] for h in range(6) for w in range(4) for c in range(512)], 1)
        assert torch.allclose(encoder.embed(x), encoder.embeddings(flat), atol=1e-6)
    assert encoder.embed(x).shape == (2, 128)
