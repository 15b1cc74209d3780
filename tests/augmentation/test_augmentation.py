"""Augmentation is determined by the key of each sample, and each effect follows its settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.data.sampling import derive_seed
from tests.tensors import ALWAYS_ON, FEW_EXAMPLES, KEYS, N, crops, make_augmentation, spectrograms


@pytest.mark.parametrize("effect", ALWAYS_ON)
def test_samples_without_an_effect_are_exactly_their_crops(effect):
    options = {k: 0.5 if k.endswith("_p") else v for k, v in ALWAYS_ON[effect].items()}
    x = crops(40)
    unchanged = (make_augmentation(**options).waveform(x, KEYS, N) == x[:, :N]).all(1)
    assert 8 < unchanged.sum() < 32
    never = make_augmentation(**{k: 0 if k.endswith("_p") else v for k, v in options.items()})
    assert never.crop_factor == 1.0
    assert torch.equal(never.waveform(x, KEYS, N), x[:, :N])


# Keys


@settings(max_examples=8)
@given(data=st.data())
def test_results_do_not_depend_on_the_batch(data):
    augmentation = make_augmentation(**{k: 0.6 if k.endswith("_p") else v for kind in ALWAYS_ON.values() for k, v in kind.items()},
                                time_masks=2, freq_masks=2)  # fmt: skip
    x, z, keys = crops(9), spectrograms(9), data.draw(st.lists(st.integers(0, 2**63 - 1), min_size=9, max_size=9))
    rows = data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=5, unique=True))
    row_keys = [keys[row] for row in rows]
    expected = augmentation.waveform(x, torch.tensor(keys), N)[rows]
    assert torch.allclose(augmentation.waveform(x[rows], row_keys, N), expected, rtol=0, atol=1e-6)
    one_by_one = [augmentation.waveform(x[row, None], [keys[row]], N) for row in rows]
    assert torch.allclose(torch.cat(one_by_one), expected, rtol=0, atol=1e-6)
    masked = augmentation.spectrogram(z[rows], row_keys)
    assert torch.allclose(masked, augmentation.spectrogram(z, keys)[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("effect", ALWAYS_ON)
def test_global_random_state_is_neither_used_nor_changed(effect):
    augmentation, x = make_augmentation(**ALWAYS_ON[effect]), crops(4)
    first = augmentation.waveform(x, KEYS[:4], N)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    state = torch.random.get_rng_state()
    assert torch.equal(augmentation.waveform(x, KEYS[:4], N), first)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(first, x[:, :N])


@pytest.mark.parametrize("effect", sorted(set(ALWAYS_ON) - {"polarity"}))
def test_other_keys_give_other_results(effect):
    """The keys of two epochs; all samples are equal, so that only keys differ."""
    augmentation, x = make_augmentation(**ALWAYS_ON[effect]), crops(1, 4000).expand(24, -1)
    first = augmentation.waveform(x, [derive_seed(0, 1, row) for row in range(24)], 3000)
    second = augmentation.waveform(x, [derive_seed(0, 2, row) for row in range(24)], 3000)
    assert (first != second).any(1).sum() > 12
    assert len({tuple(row[:50].tolist()) for row in first}) > (3 if effect == "stretch" else 6)


def test_effects_are_independent():
    """Tempo, noise and masks of a sample do not change when another effect is enabled."""
    x, stretch = crops(30), {"stretch_rate": [0.9, 1.1], "stretch_p": 0.5}
    stretched = make_augmentation(**stretch).waveform(x, KEYS[:30], N)
    louder = make_augmentation(**stretch, gain_db=[6, 6], gain_p=1).waveform(x, KEYS[:30], N)
    assert torch.allclose(louder, stretched * 10 ** (6 / 20), rtol=1e-5, atol=1e-7)
    noise = make_augmentation(noise_amplitude=0.1, noise_amplitude_p=1)
    both = make_augmentation(noise_amplitude=0.1, noise_amplitude_p=1, polarity_p=1)
    assert torch.allclose(
        both.waveform(x, KEYS[:30], N) + x[:, :N], noise.waveform(x, KEYS[:30], N) - x[:, :N], atol=1e-6
    )
    z = spectrograms(5)
    masked_by_both = make_augmentation(time_masks=1, freq_masks=1).spectrogram(z, KEYS[:5]) != z
    masked_over_time = make_augmentation(time_masks=1).spectrogram(z, KEYS[:5]) != z
    assert (masked_by_both | ~masked_over_time).all()


def test_effects_have_their_probabilities_and_ranges():
    augmentation = make_augmentation(polarity_p=0.3, gain_db=[1, 2], gain_p=0.7)
    x = torch.ones(2000, 1)
    y = augmentation.waveform(x, [derive_seed(9, 0, row) for row in range(2000)], 1)
    assert (y < 0).float().mean().item() == pytest.approx(0.3, abs=0.04)
    changed = y.abs() != 1
    assert changed.float().mean().item() == pytest.approx(0.7, abs=0.04)
    assert 10 ** (1 / 20) <= y.abs()[changed].min() < 1.13
    assert 1.24 < y.abs()[changed].max() <= 10 ** (2 / 20)


def test_too_few_keys_and_too_short_crops_are_rejected():
    with pytest.raises(ValueError, match=r"\b3\b.*\b4\b"):
        make_augmentation().waveform(crops(4), KEYS[:3], N)
    with pytest.raises(ValueError, match=str(N)):
        make_augmentation(stretch_rate=[1, 1.5]).waveform(crops(1), KEYS[:1], N)


# Noise


def test_noise_has_the_configured_ratio_and_amplitude():
    x = crops(20) * torch.logspace(-2, 1, 20)[:, None]
    y = make_augmentation(noise_snr=[12, 18], noise_snr_p=1).waveform(x, KEYS[:20], N)
    ratio = 10 * torch.log10(x[:, :N].square().mean(1) / (y - x[:, :N]).square().mean(1))
    assert ratio.min() > 11.9
    assert ratio.max() < 18.1
    assert ratio.max() - ratio.min() > 2
    y = make_augmentation(noise_amplitude=0.005, noise_amplitude_p=1).waveform(x, KEYS[:20], N)
    assert torch.allclose((y - x[:, :N]).std(1), torch.tensor(0.005), rtol=0.05)
    noise = y - x[:, :N]
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.06


def test_noise_at_a_ratio_keeps_silence_silent():
    y = make_augmentation(noise_snr=[10, 10], noise_snr_p=1).waveform(torch.zeros(2, N), KEYS[:2], N)
    assert (y == 0).all()


# Masks


@FEW_EXAMPLES
@given(
    time=st.tuples(st.integers(0, 3), st.integers(0, 90)),
    bands=st.tuples(st.integers(0, 3), st.integers(0, 60)),
    key=st.integers(0, 2**63 - 1),
)
def test_masks_cover_whole_frames_and_bands_with_the_mean(time, bands, key):
    """The number and widths of masks stay within their limits."""
    z = spectrograms(1)
    augmentation = make_augmentation(
        time_masks=time[0], time_mask_frames=time[1], freq_masks=bands[0], freq_mask_bands=bands[1]
    )
    y = augmentation.spectrogram(z, [key])
    hidden = (y != z)[0, 0]
    frames, rows = hidden.all(0), hidden.all(1)
    assert torch.equal(hidden, frames[None, :] | rows[:, None])
    for covered, (count, max_width), size in ((frames, time, 60), (rows, bands, 40)):
        if not hidden.all():
            assert covered.sum() <= count * min(max_width, size // 2)
            assert (torch.diff(covered.int(), prepend=torch.zeros(1, dtype=torch.int)) == 1).sum() <= count
    assert torch.allclose(y[0, 0][hidden], z.mean(), atol=1e-5)


def test_masks_have_every_width_and_reach_both_ends():
    z = spectrograms(1).expand(600, -1, -1, -1)
    augmentation = make_augmentation(time_masks=1, time_mask_frames=5)
    hidden = augmentation.spectrogram(z, [derive_seed(1, row) for row in range(600)]) != z
    covered = hidden[:, 0, 0]
    assert set(covered.sum(1).tolist()) == {0, 1, 2, 3, 4, 5}
    assert covered[:, 0].any()
    assert covered[:, -1].any()


def test_masks_keep_the_dtype_and_propagate_gradients():
    z = spectrograms(2).requires_grad_()
    augmentation = make_augmentation(time_masks=1, freq_masks=1)
    augmentation.spectrogram(z, KEYS[:2]).sum().backward()
    assert z.grad is not None
    assert augmentation.spectrogram(spectrograms(2).bfloat16(), KEYS[:2]).dtype == torch.bfloat16


# Mixup


@FEW_EXAMPLES
@given(batch=st.integers(1, 9), alpha=st.floats(0.05, 5), seed=st.integers(0, 1000))
def test_mixup_weights(batch, alpha, seed):
    """Targets sum to 1, the sample's own class has at least half, and waveforms are mixed with the same weights."""
    x, y, keys = crops(batch, 50), torch.arange(batch) % 3, [derive_seed(seed, row) for row in range(batch)]
    mixed_x, targets = make_augmentation(mixup_alpha=alpha).mixup(x, y, keys, 3)
    assert targets.shape == (batch, 3)
    assert torch.allclose(targets.sum(1), torch.ones(batch))
    own_weight = targets[torch.arange(batch), y]
    assert (own_weight >= 0.5).all()
    other_class = y != y.roll(1)  # only there do targets show the weight
    weight = own_weight[other_class, None]
    expected = weight * x[other_class] + (1 - weight) * x.roll(1, 0)[other_class]
    assert torch.allclose(mixed_x[other_class], expected, atol=1e-6)
    repeated, _ = make_augmentation(mixup_alpha=alpha).mixup(x, y, keys, 3)
    assert torch.equal(repeated, mixed_x)
