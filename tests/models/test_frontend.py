"""The log-mel front end, true to librosa."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.models.frontend import LogMel
from tests.tensors import CERTAIN, FEW, KEYS, RATE, N, crops, tone


@pytest.mark.parametrize(
    "options", [{}, {"n_mels": 64, "f_min": 30.0, "f_max": 8000.0, "n_fft": 1024, "hop_length": 256}]
)
def test_log_mel_is_librosas(options):
    x = np.stack([tone(1), crops(1, RATE)[0].numpy()])
    kinds = {"f_min": "fmin", "f_max": "fmax"}
    theirs = librosa.feature.melspectrogram(y=x, sr=RATE, **{kinds.get(k, k): v for k, v in options.items()})
    ours = LogMel(RATE, **options)
    assert np.allclose(ours.mel(torch.from_numpy(x)).numpy(), theirs, rtol=1e-4, atol=1e-6 * theirs.max())
    loud = theirs > 1e-6 * theirs.max()
    db = ours(torch.from_numpy(x))[:, 0].numpy()
    assert np.abs(db - librosa.power_to_db(theirs, top_db=None))[loud].max() < 0.02
    assert db.min() >= -100


def test_log_mel_shapes_and_silence():
    z = LogMel()(torch.zeros(11, 3 * RATE))
    assert z.shape == (11, 1, 128, 1 + 3 * RATE // 512)
    assert (z == -100).all()


def test_fit_brings_each_band_to_mean_0_and_deviation_1():
    made, x = LogMel(n_mels=40), torch.cat([crops(10, RATE), 0.01 * crops(3, RATE)])
    assert set(made.state_dict()) == {"mean", "scale"}
    made.fit(x.split(4))
    z = made(x)
    assert z.mean((0, 1, 3)).abs().max() < 1e-3
    assert (z.std((0, 1, 3)) - 1).abs().max() < 1e-2
    other = LogMel(n_mels=40)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(x), z)
    other.fit(part for part in x.split(1))
    assert torch.allclose(other.mean, made.mean, atol=1e-5)
    assert torch.allclose(other.scale, made.scale, rtol=1e-5)


def test_fit_copes_with_silence_and_refuses_nothing_at_all():
    made = LogMel(n_mels=40)
    made.fit([torch.zeros(2, RATE)])
    assert (made(torch.zeros(1, RATE)) == 0).all()
    with pytest.raises(ValueError, match="no waveform"):
        made.fit([])


def test_autocast_changes_neither_log_mel_nor_augmentation():
    made, x = LogMel(), crops(4)
    effects = Augmentation(**CERTAIN["pitch"])
    plain = made(x), effects.waveform(x, KEYS[:4], N)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = made(x), effects.waveform(x, KEYS[:4], N)
    assert all(torch.equal(a, b) for a, b in zip(plain, under, strict=True))
    assert under[0].dtype == torch.float32


@FEW
@given(batch=st.integers(1, 20))
def test_log_mel_of_a_batch_is_that_of_its_parts(batch):
    made, x = LogMel(n_mels=40), crops(batch)
    assert torch.allclose(made(x), torch.cat([made(part) for part in x.split(1)]), atol=1e-4)
