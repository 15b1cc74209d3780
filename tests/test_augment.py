"""Augmentation and the log-mel front end: keyed by the sample, true to librosa; torchaudio with and without its extension."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.data.sampling import mixed
from musicreclass.errors import ConfigError
from musicreclass.models.augment import Augmentation, grid
from musicreclass.models.effects import semitones, stretch_and_shift
from musicreclass.models.frontend import LogMel
from musicreclass.models.transforms import phase_vocoder

CONF = Path(__file__).parents[1] / "conf" / "augmentation"
GROUPS = sorted(p.stem for p in CONF.glob("*.yaml"))
RATE = 22050
N = 8000  # samples of a short clip
KEYS = [mixed(0, 1, row) for row in range(40)]
FEW = settings(max_examples=15, deadline=None)
CERTAIN = {
    "gain": {"gain_db": [3, 6], "gain_p": 1},
    "polarity": {"polarity_p": 1},
    "stretch": {"stretch_rate": [0.8, 1.25], "stretch_step": 0.15, "stretch_p": 1},
    "pitch": {"pitch_semitones": [-3, 3], "pitch_p": 1},
    "snr": {"noise_snr": [10, 20], "noise_snr_p": 1},
    "amplitude": {"noise_amplitude": 0.01, "noise_amplitude_p": 1},
}


def group(name: str, *overrides: str) -> Augmentation:
    """What a file of conf/augmentation makes."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return instantiate(compose(name, list(overrides)))


def crops(count: int, samples: int = 11000) -> torch.Tensor:
    return torch.randn(count, samples, generator=torch.Generator().manual_seed(3)) * 0.1


def pictures(count: int, bands: int = 40, frames: int = 60) -> torch.Tensor:
    return torch.randn(count, 1, bands, frames, generator=torch.Generator().manual_seed(4)) + 2


# The groups


@pytest.mark.parametrize("name", GROUPS)
def test_every_group_has_every_setting_and_takes_overrides(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert set(compose(name)) == set(yaml.safe_load((CONF / "none.yaml").read_text()))
    assert group(name, "noise_snr=[10,30]", "stretch_rate=null", "mixup_alpha=0.4").noise_snr == [10, 30]
    assert not list(group(name).parameters())
    assert not group(name).state_dict()


def test_files_and_the_class_agree_on_what_off_is():
    off, plain = vars(group("none")), vars(Augmentation())
    assert {k: v for k, v in off.items() if k[0] != "_"} == {k: v for k, v in plain.items() if k[0] != "_"}


def test_seed_v2_is_what_the_earlier_script_did():
    made = group("seed_v2")
    assert made.rates == [0.9, 0.95, 1.05, 1.1]
    assert made.steps == [-2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2]
    assert (made.stretch_p, made.pitch_p, made.noise_amplitude, made.noise_amplitude_p) == (0.5, 0.5, 0.005, 0.3)
    assert made.longest == 1.1


@pytest.mark.parametrize("name", ["waveform", "spectrogram", "full", "seed_v2"])
def test_every_group_does_something_and_leaves_its_input_alone(name):
    made, x, z = group(name), crops(12), pictures(12)
    before = x.clone(), z.clone()
    y, w = made.waveform(x, KEYS[:12], N), made.spectrogram(z, KEYS[:12])
    assert y.shape == (12, N)
    assert w.shape == z.shape
    assert not (torch.equal(y, x[:, :N]) and torch.equal(w, z))
    assert torch.isfinite(y).all()
    made.mixup(x, torch.zeros(12, dtype=torch.long), KEYS[:12], 2)
    assert torch.equal(x, before[0])
    assert torch.equal(z, before[1])


def test_off_changes_nothing():
    made, x, z = group("none"), crops(5), pictures(5)
    assert made.longest == 1.0
    assert torch.equal(made.waveform(x, KEYS[:5], N), x[:, :N])
    assert torch.equal(made.spectrogram(z, KEYS[:5]), z)
    mixed_x, targets = made.mixup(x, torch.tensor([0, 1, 2, 0, 1]), KEYS[:5], 3)
    assert torch.equal(mixed_x, x)
    assert targets.argmax(1).tolist() == [0, 1, 2, 0, 1]
    assert targets.sum() == 5


@pytest.mark.parametrize("effect", CERTAIN)
def test_a_sample_that_nothing_was_drawn_for_is_exactly_its_crop(effect):
    options = {k: 0.5 if k.endswith("_p") else v for k, v in CERTAIN[effect].items()}
    x = crops(40)
    same = (Augmentation(**options).waveform(x, KEYS, N) == x[:, :N]).all(1)
    assert 8 < same.sum() < 32
    never = Augmentation(**{k: 0 if k.endswith("_p") else v for k, v in options.items()})
    assert never.longest == 1.0
    assert torch.equal(never.waveform(x, KEYS, N), x[:, :N])


# The key decides


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_company_place_and_parts_do_not_matter(data):
    """What a sample becomes does not depend on its batch."""
    made = Augmentation(**{k: 0.6 if k.endswith("_p") else v for kind in CERTAIN.values() for k, v in kind.items()},
                        time_masks=2, freq_masks=2)  # fmt: skip
    x, z, keys = crops(9), pictures(9), data.draw(st.lists(st.integers(0, 2**63 - 1), min_size=9, max_size=9))
    rows = data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=5, unique=True))
    picked = [keys[row] for row in rows]
    whole = made.waveform(x, torch.tensor(keys), N)[rows]
    assert torch.allclose(made.waveform(x[rows], picked, N), whole, rtol=0, atol=1e-6)
    one_by_one = [made.waveform(x[row, None], [keys[row]], N) for row in rows]
    assert torch.allclose(torch.cat(one_by_one), whole, rtol=0, atol=1e-6)
    assert torch.allclose(made.spectrogram(z[rows], picked), made.spectrogram(z, keys)[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("effect", CERTAIN)
def test_same_key_same_result_whatever_torch_and_numpy_drew_before(effect):
    made, x = Augmentation(**CERTAIN[effect]), crops(4)
    first = made.waveform(x, KEYS[:4], N)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    state = torch.random.get_rng_state()
    assert torch.equal(made.waveform(x, KEYS[:4], N), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(first, x[:, :N])


@pytest.mark.parametrize("effect", sorted(set(CERTAIN) - {"polarity"}))
def test_other_keys_give_other_results(effect):
    """The keys of another epoch; each sample is the same sound, so that only the key can differ."""
    made, x = Augmentation(**CERTAIN[effect]), crops(1, 4000).expand(24, -1)
    one = made.waveform(x, [mixed(0, 1, row) for row in range(24)], 3000)
    two = made.waveform(x, [mixed(0, 2, row) for row in range(24)], 3000)
    assert (one != two).any(1).sum() > 12
    assert len({tuple(row[:50].tolist()) for row in one}) > (3 if effect == "stretch" else 6)


def test_one_effect_does_not_move_another():
    """Masks, tempo and noise of a sample stay when a further effect is switched on."""
    x, some = crops(30), {"stretch_rate": [0.9, 1.1], "stretch_p": 0.5}
    plain = Augmentation(**some).waveform(x, KEYS[:30], N)
    louder = Augmentation(**some, gain_db=[6, 6], gain_p=1).waveform(x, KEYS[:30], N)
    assert torch.allclose(louder, plain * 10 ** (6 / 20), rtol=1e-5, atol=1e-7)
    noise = Augmentation(noise_amplitude=0.1, noise_amplitude_p=1)
    both = Augmentation(noise_amplitude=0.1, noise_amplitude_p=1, polarity_p=1)
    assert torch.allclose(
        both.waveform(x, KEYS[:30], N) + x[:, :N], noise.waveform(x, KEYS[:30], N) - x[:, :N], atol=1e-6
    )
    z = pictures(5)
    both_masks = Augmentation(time_masks=1, freq_masks=1).spectrogram(z, KEYS[:5]) != z
    assert (both_masks | ~(Augmentation(time_masks=1).spectrogram(z, KEYS[:5]) != z)).all()


def test_probabilities_are_what_they_say():
    made = Augmentation(polarity_p=0.3, gain_db=[1, 2], gain_p=0.7)
    x = torch.ones(2000, 1)
    y = made.waveform(x, [mixed(9, 0, row) for row in range(2000)], 1)
    assert (y < 0).float().mean().item() == pytest.approx(0.3, abs=0.04)
    changed = y.abs() != 1
    assert changed.float().mean().item() == pytest.approx(0.7, abs=0.04)
    assert 10 ** (1 / 20) <= y.abs()[changed].min() < 1.13
    assert 1.24 < y.abs()[changed].max() <= 10 ** (2 / 20)


def test_keys_and_samples_must_match():
    with pytest.raises(ValueError, match="3 keys for 4 samples"):
        Augmentation().waveform(crops(4), KEYS[:3], N)
    with pytest.raises(ValueError, match="too short"):
        Augmentation(stretch_rate=[1, 1.5]).waveform(crops(1), KEYS[:1], N)


# Tempo and pitch


def tone(seconds: float, frequency: float = 440.0) -> np.ndarray:
    """Harmonics, with a slow tremolo so that tempo can be heard."""
    t = np.arange(int(seconds * RATE)) / RATE
    sound = sum(np.sin(2 * np.pi * frequency * k * t) / k for k in range(1, 6))
    return (0.2 * sound * (1 + 0.5 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def peak(y: np.ndarray) -> float:
    """The strongest frequency, Hz."""
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y)), 8 * len(y)))
    return float(np.fft.rfftfreq(8 * len(y), 1 / RATE)[spectrum.argmax()])


def tremolo(y: np.ndarray) -> float:
    """The strongest frequency of the loudness, Hz."""
    loudness = librosa.feature.rms(y=y, frame_length=1024, hop_length=64)[0]
    loudness = (loudness - loudness.mean()) * np.hanning(len(loudness))
    spectrum = np.abs(np.fft.rfft(loudness, 16 * len(loudness)))
    return float(np.fft.rfftfreq(16 * len(loudness), 64 / RATE)[spectrum.argmax()])


@pytest.mark.parametrize("rate", [0.9, 1.1, 1.3])
def test_stretch_agrees_with_librosa(rate):
    x = tone(3)
    n = int(len(x) / rate)
    y = stretch_and_shift(torch.from_numpy(x)[None], rate, 0.0, n)[0].numpy()
    theirs = librosa.effects.time_stretch(x, rate=rate)
    assert abs(len(theirs) - n) <= 1
    assert np.abs(y[: n - 2048] - theirs[: n - 2048]).max() < 0.02  # the ends are padded differently
    assert peak(y) == pytest.approx(440, rel=0.002)
    assert tremolo(y) == pytest.approx(4 * rate, rel=0.03)


@pytest.mark.parametrize("steps", [-2.0, -0.5, 1.0, 2.0])
def test_shift_agrees_with_librosa(steps):
    x = tone(2)
    y = stretch_and_shift(torch.from_numpy(x)[None], 1.0, steps, len(x))[0].numpy()
    theirs = librosa.effects.pitch_shift(x, sr=RATE, n_steps=steps)
    assert len(y) == len(theirs)
    assert peak(y) == pytest.approx(440 * 2 ** (steps / 12), rel=0.002)
    assert tremolo(y) == pytest.approx(4, rel=0.03)
    ours, librosas = (librosa.feature.spectral_centroid(y=s, sr=RATE).mean() for s in (y, theirs))
    assert ours == pytest.approx(librosas, rel=0.01)
    assert y.std() == pytest.approx(theirs.std(), rel=0.02)


def test_both_at_once():
    y = stretch_and_shift(torch.from_numpy(tone(3))[None], 1.2, 3.0, 50000)[0].numpy()
    assert peak(y) == pytest.approx(440 * 2**0.25, rel=0.002)
    assert tremolo(y) == pytest.approx(4.8, rel=0.03)


def test_long_clips_keep_their_high_tones():
    """The vocoder adds up phases over all frames, in float32: against the same in float64."""
    sound = torch.sin(2 * torch.pi * 9000 / RATE * torch.arange(33 * RATE, dtype=torch.float64))
    window, advance = torch.hann_window(2048).double(), torch.arange(1025).double()[:, None] * (torch.pi / 2)
    frames = torch.stft(sound, 2048, 512, window=window, pad_mode="constant", return_complex=True)
    exact = torch.istft(phase_vocoder(frames, 1.1, advance), 2048, 512, window=window, length=30 * RATE)
    ours = stretch_and_shift(sound[None].float(), 1.1, 0.0, 30 * RATE)[0]
    assert (ours - exact)[:-2048].abs().max() < 0.002


@FEW
@given(
    n=st.integers(1, 9000),
    low=st.sampled_from([0.5, 0.8, 0.95]),
    high=st.sampled_from([1.0, 1.05, 1.3, 2.0]),
    steps=st.sampled_from([0, 1.5, 7]),
)
def test_the_longest_crop_fills_the_clip(n, low, high, steps):
    """Any clip length; the last samples still hold sound."""
    made = Augmentation(stretch_rate=[low, high], stretch_p=1, pitch_semitones=[-steps, steps], pitch_p=1)
    x = crops(4, int(n * made.longest))
    y = made.waveform(x, KEYS[:4], n)
    assert y.shape == (4, n)
    assert torch.isfinite(y).all()
    assert n < 4000 or (y[:, -200:].std(1) > 0.02).all()


def test_fractions_stand_for_semitones():
    for steps in np.arange(-24, 24.5, 0.5):
        assert 1200 * abs(np.log2(float(semitones(float(steps)))) - steps / 12) < 2
    assert semitones(12.0) == 2


def test_grid():
    assert grid([0.9, 1.1], 0.1, 1.0) == [0.9, 1.1]
    assert grid([0.93, 1.05], 0.05, 1.0) == [0.93, 0.98, 1.03]
    assert grid([1, 1], 0.1, 1.0) == []
    assert grid(None, 0.1, 1.0) == []


# Noise


def test_noise_has_its_ratio_and_amplitude():
    x = crops(20) * torch.logspace(-2, 1, 20)[:, None]
    y = Augmentation(noise_snr=[12, 18], noise_snr_p=1).waveform(x, KEYS[:20], N)
    ratio = 10 * torch.log10(x[:, :N].square().mean(1) / (y - x[:, :N]).square().mean(1))
    assert ratio.min() > 11.9
    assert ratio.max() < 18.1
    assert ratio.max() - ratio.min() > 2
    y = Augmentation(noise_amplitude=0.005, noise_amplitude_p=1).waveform(x, KEYS[:20], N)
    assert torch.allclose((y - x[:, :N]).std(1), torch.tensor(0.005), rtol=0.05)
    noise = y - x[:, :N]
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.06


def test_silence_stays_silent_at_a_ratio():
    y = Augmentation(noise_snr=[10, 10], noise_snr_p=1).waveform(torch.zeros(2, N), KEYS[:2], N)
    assert (y == 0).all()


# Masks


@FEW
@given(
    time=st.tuples(st.integers(0, 3), st.integers(0, 90)),
    bands=st.tuples(st.integers(0, 3), st.integers(0, 60)),
    key=st.integers(0, 2**63 - 1),
)
def test_masks_keep_their_widths_and_hold_the_mean(time, bands, key):
    """Whole frames and whole bands only, no more of them than was asked for."""
    z = pictures(1)
    made = Augmentation(time_masks=time[0], time_mask_frames=time[1], freq_masks=bands[0], freq_mask_bands=bands[1])
    y = made.spectrogram(z, [key])
    hidden = (y != z)[0, 0]
    frames, rows = hidden.all(0), hidden.all(1)
    assert torch.equal(hidden, frames[None, :] | rows[:, None])
    for covered, (count, widest), size in ((frames, time, 60), (rows, bands, 40)):
        if not hidden.all():
            assert covered.sum() <= count * min(widest, size // 2)
            assert (torch.diff(covered.int(), prepend=torch.zeros(1, dtype=torch.int)) == 1).sum() <= count
    assert torch.allclose(y[0, 0][hidden], z.mean(), atol=1e-5)


def test_masks_reach_every_width_and_both_ends():
    z = pictures(1).expand(600, -1, -1, -1)
    hidden = Augmentation(time_masks=1, time_mask_frames=5).spectrogram(z, [mixed(1, row) for row in range(600)]) != z
    covered = hidden[:, 0, 0]
    assert set(covered.sum(1).tolist()) == {0, 1, 2, 3, 4, 5}
    assert covered[:, 0].any()
    assert covered[:, -1].any()


def test_masks_keep_the_type_and_let_gradients_through():
    z = pictures(2).requires_grad_()
    made = Augmentation(time_masks=1, freq_masks=1)
    made.spectrogram(z, KEYS[:2]).sum().backward()
    assert z.grad is not None
    assert made.spectrogram(pictures(2).bfloat16(), KEYS[:2]).dtype == torch.bfloat16


# Mixup


@FEW
@given(batch=st.integers(1, 9), alpha=st.floats(0.05, 5), seed=st.integers(0, 1000))
def test_mixup_mixes_what_it_says(batch, alpha, seed):
    """Sums to 1, at least half of the sample's own class, and the waveform in the same shares."""
    x, y, keys = crops(batch, 50), torch.arange(batch) % 3, [mixed(seed, row) for row in range(batch)]
    made, targets = Augmentation(mixup_alpha=alpha).mixup(x, y, keys, 3)
    assert targets.shape == (batch, 3)
    assert torch.allclose(targets.sum(1), torch.ones(batch))
    own = targets[torch.arange(batch), y]
    assert (own >= 0.5).all()
    apart = y != y.roll(1)
    share = own[apart, None]
    assert torch.allclose(made[apart], share * x[apart] + (1 - share) * x.roll(1, 0)[apart], atol=1e-6)
    again, _ = Augmentation(mixup_alpha=alpha).mixup(x, y, keys, 3)
    assert torch.equal(again, made)


# Settings


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"stretch_rate": [0, 1.1]},
            "augmentation.stretch_rate=[0,1.1]: must be [slowest, fastest], within 0.25 and 4",
        ),
        ({"stretch_rate": [1.1, 0.9]}, "augmentation.stretch_rate=[1.1,0.9]: must be [slowest, fastest]"),
        ({"gain_db": 3}, "augmentation.gain_db=3: must be [lowest, highest] in dB"),
        ({"noise_snr": [1, 2, 3]}, "augmentation.noise_snr=[1,2,3]: must be"),
        ({"noise_snr": "10,30"}, "augmentation.noise_snr=10,30: must be"),
        ({"gain_p": 1.5}, "augmentation.gain_p=1.5: must be a probability, from 0 (never) to 1 (always)"),
        ({"pitch_p": None}, "augmentation.pitch_p=null: must be a probability"),
        ({"pitch_step": 0.3}, "augmentation.pitch_step=0.3: must be a number of semitones, 0.5 or a multiple of it"),
        ({"stretch_step": 0}, "augmentation.stretch_step=0: must be a number, from 0.01 to 4"),
        ({"time_masks": 1.5}, "augmentation.time_masks=1.5: must be a whole number, at least 0"),
        ({"mixup_alpha": float("nan")}, "augmentation.mixup_alpha=nan: must be a number, from 0 (off) to 100"),
        ({"noise_amplitude": True}, "augmentation.noise_amplitude=True: must be"),
        ({"reverb": 1}, "augmentation.reverb=1: no such setting; "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, line):
    with pytest.raises(ConfigError) as refused:
        Augmentation(**options)
    (problem,) = refused.value.problems
    assert problem.startswith(line)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as refused:
        Augmentation(gain_p=-1, freq_masks=-1, reverb=1)
    assert len(refused.value.problems) == 3


# The log-mel


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


# torchaudio, with and without its extension: fakes stand for both, whatever this machine's builds are

IMPORT = """
import sys, warnings, torch
warnings.simplefilter("error")
{before}
from musicreclass.models import transforms
extension = sys.modules["torchaudio._extension"]
assert transforms.MelSpectrogram(16000, n_mels=20)(torch.zeros(1, 16000)).shape == (1, 20, 81)
import torchaudio, torchaudio.functional as again
assert again is sys.modules["torchaudio.functional"] and again.phase_vocoder is transforms.phase_vocoder
assert torchaudio._extension is extension
{after}
"""
UNLOADABLE = """
def refuse(path): raise OSError("libc10_cuda.so: cannot open shared object file")
torch.ops.load_library = refuse
"""
# An extension that loads: its operators are declared in Python, the calls that load libraries noted.
LOADABLE = """
loaded = []
torch.ops.load_library = lambda path: loaded.append(path.name)
own, effects = torch.library.Library("_torchaudio", "DEF"), torch.library.Library("torchaudio", "DEF")
own.define("is_align_available() -> bool"); own.define("cuda_version() -> int?")
own.impl("is_align_available", lambda: True, "CompositeImplicitAutograd")
own.impl("cuda_version", lambda: 11080, "CompositeImplicitAutograd")
effects.define("_lfilter_core_loop(Tensor a) -> ()"); effects.define("_overdrive_core_loop(Tensor a) -> ()")
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        (
            UNLOADABLE,
            "assert not extension._IS_TORCHAUDIO_EXT_AVAILABLE and not extension._IS_ALIGN_AVAILABLE\n"
            "try: again.forced_align(None, None)\n"
            "except RuntimeError as error: assert 'forced_align needs' in str(error)\n"
            "else: raise AssertionError",
        ),
        (
            LOADABLE + "torch.version.cuda = '11.8'",
            "assert extension.__file__ and extension._IS_TORCHAUDIO_EXT_AVAILABLE and extension._IS_ALIGN_AVAILABLE",
        ),
        (
            LOADABLE + "torch.version.cuda = '12.8'",
            "assert not hasattr(extension, '__file__') and extension._IS_TORCHAUDIO_EXT_AVAILABLE\n"
            "assert extension._IS_ALIGN_AVAILABLE and len(loaded) == 4, loaded",
        ),
    ],
    ids=["as it is here", "not loadable", "usable", "another CUDA version"],
)
def test_torchaudio_comes_in(before, after):
    told = python(IMPORT.format(before=before, after=after))
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (
            "block = lambda name: ModuleNotFoundError('No module named ' + repr(name), name=name)",
            "torchaudio is not installed",
        ),
        (
            "block = lambda name: ValueError('half a package')",
            "torchaudio cannot be imported (ValueError: half a package)",
        ),
    ],
    ids=["absent", "broken"],
)
def test_a_torchaudio_that_is_not_there_is_named_and_leaves_nothing_behind(before, words):
    told = python(f"""
import sys, torch
{before}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchaudio":
            raise block(name)
sys.meta_path.insert(0, Finder())
for _ in range(2):
    try:
        import musicreclass.models.transforms
    except ImportError as error:
        print(error)
    assert not [name for name in sys.modules if "torchaudio" in name or name.endswith("models.transforms")]
import musicreclass.models.frontend
""")
    assert told.returncode == 0, told.stderr
    assert (
        told.stdout.splitlines() == [f"{words}: pip install 'torchaudio>=2.8,<2.12' beside the torch that is there"] * 2
    )


def test_networks_over_tables_do_without_torchaudio():
    told = python(
        "import sys, musicreclass.models.mlp, musicreclass.models.frontend; print('torchaudio' in sys.modules)"
    )
    assert told.stdout == "False\n"


def test_nothing_else_imports_torchaudio():
    package = Path(__file__).parents[1] / "musicreclass"
    naming = [
        p.name for p in package.rglob("*.py") if "import torchaudio" in p.read_text().replace("`import torchaudio`", "")
    ]
    assert naming == []
    assert [p.name for p in package.rglob("*.py") if 'import_module("torchaudio")' in p.read_text()] == [
        "transforms.py"
    ]
