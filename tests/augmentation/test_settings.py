"""Augmentation settings: the files of conf/augmentation, and invalid values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from musicreclass.augmentation.augmentation import Augmentation
from musicreclass.classifiers.network_builder import make_augmentation as make_augmentation_of
from musicreclass.config.parse import parse
from musicreclass.config.settings.training import AugmentationSettings
from musicreclass.errors import ConfigError
from tests.conftest import settings_for
from tests.tensors import KEYS, NONE, N, crops, spectrograms

CONF = Path(__file__).parents[2] / "conf" / "augmentation"
GROUPS = sorted(p.stem for p in CONF.glob("*.yaml"))


def augmentation_of(name: str, *overrides: str) -> Augmentation:
    """The augmentation configured by a file of conf/augmentation."""
    settings = settings_for("data=demo_audio", "model=cnn", f"augmentation={name}", *overrides)
    return make_augmentation_of(settings.augmentation)


@pytest.mark.parametrize("name", GROUPS)
def test_every_file_has_every_setting_and_accepts_overrides(name):
    settings = settings_for("data=demo_audio", "model=cnn", f"augmentation={name}").augmentation
    assert set(settings.as_dict()) == set(NONE)
    overrides = ("noise_snr=[10,30]", "stretch_rate=null", "mixup_alpha=0.4")
    assert augmentation_of(name, *(f"augmentation.{o}" for o in overrides)).noise_snr == [10, 30]
    assert not list(augmentation_of(name).parameters())
    assert not augmentation_of(name).state_dict()


def test_a_file_without_some_settings_is_rejected():
    values = {**NONE, "gain_db": [-3, 3]}
    assert make_augmentation_of(AugmentationSettings.model_validate(values)).gain_db == [-3, 3]
    del values["time_masks"]
    with pytest.raises(ConfigError) as caught:
        make_augmentation_of(AugmentationSettings.model_validate(values))
    assert (caught.value.kind, caught.value.key) == ("missing_value", "augmentation.time_masks")


def test_seed_v2_has_the_values_of_the_earlier_script():
    augmentation = augmentation_of("seed_v2")
    assert augmentation.stretch_rates == [0.9, 0.95, 1.05, 1.1]
    assert augmentation.pitch_shifts == [-2, -1.5, -1, -0.5, 0.5, 1, 1.5, 2]
    assert (augmentation.stretch_p, augmentation.pitch_p) == (0.5, 0.5)
    assert (augmentation.noise_amplitude, augmentation.noise_amplitude_p) == (0.005, 0.3)
    assert augmentation.crop_factor == 1.1


@pytest.mark.parametrize("name", ["waveform", "spectrogram", "full", "seed_v2"])
def test_every_file_changes_its_input_but_not_in_place(name):
    augmentation, x, z = augmentation_of(name), crops(12), spectrograms(12)
    x_before, z_before = x.clone(), z.clone()
    y, w = augmentation.waveform(x, KEYS[:12], N), augmentation.spectrogram(z, KEYS[:12])
    assert y.shape == (12, N)
    assert w.shape == z.shape
    assert not (torch.equal(y, x[:, :N]) and torch.equal(w, z))
    assert torch.isfinite(y).all()
    augmentation.mixup(x, torch.zeros(12, dtype=torch.long), KEYS[:12], 2)
    assert torch.equal(x, x_before)
    assert torch.equal(z, z_before)


def test_none_changes_nothing():
    augmentation, x, z = augmentation_of("none"), crops(5), spectrograms(5)
    assert augmentation.crop_factor == 1.0
    assert torch.equal(augmentation.waveform(x, KEYS[:5], N), x[:, :N])
    assert torch.equal(augmentation.spectrogram(z, KEYS[:5]), z)
    mixed_x, targets = augmentation.mixup(x, torch.tensor([0, 1, 2, 0, 1]), KEYS[:5], 3)
    assert torch.equal(mixed_x, x)
    assert targets.argmax(1).tolist() == [0, 1, 2, 0, 1]
    assert targets.sum() == 5


@pytest.mark.parametrize(
    "options",
    [
        {"stretch_rate": [0, 1.1]},
        {"stretch_rate": [1.1, 0.9]},
        {"gain_db": 3},
        {"noise_snr": [1, 2, 3]},
        {"noise_snr": "10,30"},
        {"gain_p": 1.5},
        {"pitch_p": None},
        {"pitch_step": 0.3},
        {"stretch_step": 0},
        {"time_masks": 1.5},
        {"mixup_alpha": float("nan")},
        {"noise_amplitude": True},
    ],
)
def test_invalid_values(options):
    ((name, value),) = options.items()
    with pytest.raises(ConfigError) as caught:
        parse("train", {"augmentation": options})
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key) == ("invalid_value", f"augmentation.{name}")
    assert problem.value is value
    assert "\n" not in problem.message


def test_all_problems_are_reported_at_once(run):
    arguments = [
        "data=demo_audio",
        "model=cnn",
        "augmentation.gain_p=-1",
        "augmentation.freq_masks=-1",
        "+augmentation.reverb=1",
    ]
    result = run("train", *arguments)
    assert {problem.key: problem.kind for problem in result.problems} == {
        "augmentation.reverb": "unknown_key",
        "augmentation.gain_p": "invalid_value",
        "augmentation.freq_masks": "invalid_value",
    }
