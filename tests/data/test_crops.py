"""Clips of recordings: how they are cut, drawn, augmented, and what a network makes of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.factory import build, load
from musicreclass.config.check import compose
from musicreclass.hardware.profile import Profile
from musicreclass.runs.folder import Run
from musicreclass.tasks.train import open_data
from tests.conftest import LISTENERS
from tests.library import RATE, SMALL, batches, opened, same, write_tone


@pytest.mark.parametrize("model", LISTENERS)
def test_contract(model, library, here):
    """As in test_classifiers, for what reads a waveform."""
    small = ["model.checkpoint=random", "model.window_seconds=0.32"] if model == "openjmla" else ["model.channels=4"]
    left_out = ("model=", "model.channels", "model.hidden", "trainer.max", *(["model."] if model == "openjmla" else []))
    sizes = [f"model={model}", *small, f"trainer.max_epochs={6 if model == 'openjmla' else 12}", "optimizer.lr=0.01",
             *(w for w in SMALL if not w.startswith(left_out))]  # fmt: skip
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(compose("train", ["data=folder", f'data.root="{library}"', *sizes]), resolve=True)
    found = []
    for turn in range(2):
        data = open_data(config)  # type: ignore[arg-type]
        classifier = build(config, Profile.of(config["hardware"]), data)  # type: ignore[arg-type, call-overload, index]
        classifier.fit(data, Workspace(here / str(turn), lambda epoch, values: None))
        found.append(classifier.predict(data, "valid"))
    pd.testing.assert_frame_equal(found[0].table, found[1].table, check_exact=True)
    probability = found[0].probabilities()
    assert np.allclose(probability.sum(1), 1, atol=1e-6)
    truth = found[0].table.target.map({name: i for i, name in enumerate(found[0].classes)})
    assert (probability.argmax(1) == truth).mean() > 0.6
    (here / "saved").mkdir()
    classifier.save(here / "saved")
    again = load(here / "saved")
    assert again.card == classifier.card
    pd.testing.assert_frame_equal(again.predict(data, "valid").table, found[1].table, check_exact=True)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_batches_are_the_same_with_and_without_the_cache_and_for_any_number_of_workers(split, library):
    for file in sorted(library.rglob("*.wav"))[::3]:  # other rates, so that there is something to resample
        write_tone(file, 500, 7, rate=11025)
    found = [batches(opened(library, *words), split) for words in (
        ["data.cache=none"], ["data.cache=waveform"], ["data.workers=1"], ["data.workers=7", "data.cache=none"],
    )]  # fmt: skip
    assert all(same(found[0], other) for other in found[1:])
    assert found[0][0][0].dtype == torch.int16
    assert found[0][0][0].shape[-1] == round(0.75 * RATE)


def test_a_single_crop_is_from_the_middle_or_from_the_start(library):
    whole = batches(opened(library, "data.clip_seconds=1.5", "data.eval_crops=1"), "valid")[0][0][:, 0]
    n, room = round(0.75 * RATE), round(1.5 * RATE) - round(0.75 * RATE)
    for words, start in (
        (["data.eval_crop_position=start"], 0),
        (["data.eval_crop_position=middle"], room // 2),
        ([], room // 2),
    ):
        found = batches(opened(library, "data.eval_crops=1", *words), "valid")[0][0][:, 0]
        assert torch.equal(found, whole[: len(found), start : start + n]), words


def test_training_crops_are_keyed_by_seed_epoch_and_track(library):
    data = opened(library)
    first = batches(data, "train")
    assert same(first, batches(data, "train"))
    assert not same(first, batches(data, "train", epoch=1))
    data.seed = 5
    assert not same(first, batches(data, "train"))
    small = opened(library)
    small.batch_size = 5

    def by_draw(found):
        return {int(d): x for batch in found for x, d in zip(batch[0], batch[2], strict=True)}

    one, two = by_draw(first), by_draw(batches(small, "train"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[d], two[d]) for d in one)


@pytest.mark.parametrize("augmentation", ["waveform", "spectrogram", "seed_v2", "full"])
def test_augmentation_stays_in_training(run, library, here, augmentation):
    plain, augmented = opened(library), opened(library, f"augmentation={augmentation}")
    augmented.longer = 1.1
    for split in ("valid", "test"):
        assert same(batches(plain, split), batches(augmented, split))
    words = ["data=folder", f"data.root={library}", *SMALL, "trainer.max_epochs=2"]
    for name in ("none", augmentation):
        assert run("train", *words, f"augmentation={name}", f"run_dir={name}").code == 0
    scored = {name: Run.open(here / name) for name in ("none", augmentation)}
    assert not scored["none"].predictions("valid").table.equals(scored[augmentation].predictions("valid").table)
    found = scored[augmentation].classifier()  # what it predicts does not depend on augmentation being configured
    pd.testing.assert_frame_equal(
        found.predict(plain, "valid").table,
        scored[augmentation].predictions("valid").table,
        check_exact=True,
        check_dtype=False,
    )


def test_micro_batches_change_nothing_but_batch_statistics(library):
    from musicreclass.models.cnn import PlainCNN
    from musicreclass.training.module import crop_logits

    torch.manual_seed(0)
    network = PlainCNN(3, channels=4).eval()
    x = torch.randn(3, 2, 40 * 30)
    found = crop_logits(lambda clips: network(clips.reshape(-1, 1, 30, 40)), x)
    probability = torch.softmax(network(x.flatten(0, 1).reshape(-1, 1, 30, 40)), 1).reshape(3, 2, 3).mean(1)
    assert torch.allclose(torch.softmax(found, 1), probability, atol=1e-6)
    parts = torch.cat([crop_logits(lambda clips: network(clips.reshape(-1, 1, 30, 40)), part) for part in x.split(1)])
    assert torch.allclose(parts, found, atol=1e-5)


def test_a_balanced_sampler_draws_every_class_alike(library):
    for file in sorted((library / "rock").rglob("*.wav"))[3:]:
        file.unlink()
    data = opened(library, "data.sampler=balanced", "data/split=random")
    drawn = np.concatenate([batch[1].numpy() for epoch in range(60) for batch in batches(data, "train", epoch)])
    share = np.bincount(drawn) / len(drawn)
    assert np.abs(share - 1 / 3).max() < 0.05
    draws = [int(d) for batch in batches(data, "train") for d in batch[2]]
    assert len(set(draws)) == len(draws)  # a track that comes twice is not cut alike


def test_the_log_mel_is_standardised_over_all_of_the_training_split(library):
    data = opened(library)
    data.batch_size = 4
    few = [y for _, y, _ in data.scoring_batches("train", crops=1, most=6)]
    assert set(torch.cat(few).tolist()) == {0, 1, 2}
