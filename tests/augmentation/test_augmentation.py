"""Augmentation: keyed by the sample, and each effect what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.data.sampling import derive_seed
from tests.tensors import CERTAIN, FEW, KEYS, N, crops, pictures


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
    one = made.waveform(x, [derive_seed(0, 1, row) for row in range(24)], 3000)
    two = made.waveform(x, [derive_seed(0, 2, row) for row in range(24)], 3000)
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
    y = made.waveform(x, [derive_seed(9, 0, row) for row in range(2000)], 1)
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
    hidden = (
        Augmentation(time_masks=1, time_mask_frames=5).spectrogram(z, [derive_seed(1, row) for row in range(600)]) != z
    )
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
    x, y, keys = crops(batch, 50), torch.arange(batch) % 3, [derive_seed(seed, row) for row in range(batch)]
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
