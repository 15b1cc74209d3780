"""The log-mel front end agrees with librosa."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from musicreclass.models.frontend import LogMel
from tests.tensors import ALWAYS_ON, FEW_EXAMPLES, KEYS, SAMPLE_RATE, N, crops, make_augmentation, tone


@pytest.mark.parametrize(
    "options", [{}, {"n_mels": 64, "f_min": 30.0, "f_max": 8000.0, "n_fft": 1024, "hop_length": 256}]
)
def test_log_mel_matches_librosa(options):
    x = np.stack([tone(1), crops(1, SAMPLE_RATE)[0].numpy()])
    librosa_names = {"f_min": "fmin", "f_max": "fmax"}
    librosa_options = {librosa_names.get(name, name): value for name, value in options.items()}
    expected = librosa.feature.melspectrogram(y=x, sr=SAMPLE_RATE, **librosa_options)
    log_mel = LogMel(SAMPLE_RATE, **options)
    assert np.allclose(log_mel.mel(torch.from_numpy(x)).numpy(), expected, rtol=1e-4, atol=1e-6 * expected.max())
    loud = expected > 1e-6 * expected.max()
    db = log_mel(torch.from_numpy(x))[:, 0].numpy()
    assert np.abs(db - librosa.power_to_db(expected, top_db=None))[loud].max() < 0.02
    assert db.min() >= -100


def test_log_mel_of_silence():
    z = LogMel()(torch.zeros(11, 3 * SAMPLE_RATE))
    assert z.shape == (11, 1, 128, 1 + 3 * SAMPLE_RATE // 512)
    assert (z == -100).all()


def test_fit_standardises_each_band():
    log_mel, x = LogMel(n_mels=40), torch.cat([crops(10, SAMPLE_RATE), 0.01 * crops(3, SAMPLE_RATE)])
    assert set(log_mel.state_dict()) == {"mean", "scale"}
    log_mel.fit(x.split(4))
    z = log_mel(x)
    assert z.mean((0, 1, 3)).abs().max() < 1e-3
    assert (z.std((0, 1, 3)) - 1).abs().max() < 1e-2
    other = LogMel(n_mels=40)
    other.load_state_dict(log_mel.state_dict())
    assert torch.equal(other(x), z)
    other.fit(batch for batch in x.split(1))
    assert torch.allclose(other.mean, log_mel.mean, atol=1e-5)
    assert torch.allclose(other.scale, log_mel.scale, rtol=1e-5)


def test_fit_accepts_silence_but_not_an_empty_iterable():
    log_mel = LogMel(n_mels=40)
    log_mel.fit([torch.zeros(2, SAMPLE_RATE)])
    assert (log_mel(torch.zeros(1, SAMPLE_RATE)) == 0).all()
    with pytest.raises(ValueError):
        log_mel.fit([])


def test_autocast_changes_neither_log_mel_nor_augmentation():
    log_mel, x = LogMel(), crops(4)
    augmentation = make_augmentation(**ALWAYS_ON["pitch"])
    expected = log_mel(x), augmentation.waveform(x, KEYS[:4], N)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = log_mel(x), augmentation.waveform(x, KEYS[:4], N)
    assert all(torch.equal(a, b) for a, b in zip(expected, autocast, strict=True))
    assert autocast[0].dtype == torch.float32


@FEW_EXAMPLES
@given(batch_size=st.integers(1, 20))
def test_log_mel_does_not_depend_on_the_batch(batch_size):
    log_mel, x = LogMel(n_mels=40), crops(batch_size)
    assert torch.allclose(log_mel(x), torch.cat([log_mel(sample) for sample in x.split(1)]), atol=1e-4)
