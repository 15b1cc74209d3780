"""What augmentation can be set to: the groups of conf/augmentation, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.errors import ConfigError
from tests.tensors import KEYS, N, crops, pictures

CONF = Path(__file__).parents[2] / "conf" / "augmentation"
GROUPS = sorted(p.stem for p in CONF.glob("*.yaml"))


def group(name: str, *overrides: str) -> Augmentation:
    """What a file of conf/augmentation makes."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return instantiate(compose(name, list(overrides)))


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
