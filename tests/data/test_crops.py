"""Crops of recordings: how they are cut, drawn and augmented, and what a network predicts from them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.factory import build_classifier, load
from musicreclass.config.check import train_settings
from musicreclass.data.sampling import LoaderSettings
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.runs.folder import Run
from musicreclass.tasks.open_data import open_data
from tests.conftest import LISTENERS
from tests.library import RATE, SMALL, batches, opened, same, write_tone

MARKS = {"openjmla": pytest.mark.slow, "huggingface": (pytest.mark.encoders, pytest.mark.slow)}


def small_encoder(model, folder):
    """Settings of a small network; of an encoder with random weights."""
    if model == "openjmla":
        return ["model.checkpoint=random", "model.window_seconds=0.32", "trainer.max_epochs=6"]
    if model == "huggingface":
        from tests.huggingface import save_checkpoint

        save_checkpoint(folder / "checkpoint", "wav2vec2")
        return [
            f"model.checkpoint={folder / 'checkpoint'}",
            "model.window_seconds=0.5",
            "model.trainable=all",
            "trainer.max_epochs=12",
        ]
    return ["model.channels=4", "trainer.max_epochs=12"]


@pytest.mark.parametrize("model", [pytest.param(name, marks=MARKS.get(name, ())) for name in LISTENERS])
def test_contract(model, library, here):
    """The contract of tests/classifiers/test_contract.py, for models that take a waveform."""
    left_out = ("model=", "model.channels", "model.hidden", "trainer.max", *(["model."] if model in MARKS else []))
    sizes = [f"model={model}", *small_encoder(model, here), "optimizer.lr=0.01",
             *(w for w in SMALL if not w.startswith(left_out))]  # fmt: skip
    settings = train_settings(["data=folder", f'data.root="{library}"', *sizes])
    predictions = []
    for repetition in range(2):
        profile = resolve_profile(settings.hardware)
        data = open_data(settings, profile)
        classifier = build_classifier(settings, profile, data)
        classifier.fit(data, Workspace(here / str(repetition), lambda epoch, values: None))
        predictions.append(classifier.predict(data, "valid"))
    first, second = predictions
    pd.testing.assert_frame_equal(first.table, second.table, check_exact=True)
    probability = first.probabilities()
    assert np.allclose(probability.sum(1), 1, atol=1e-6)
    y_true = first.table.target.map({name: i for i, name in enumerate(first.classes)})
    assert (probability.argmax(1) == y_true).mean() > 0.6
    (here / "saved").mkdir()
    classifier.save(here / "saved")
    loaded = load(here / "saved")
    assert loaded.card == classifier.card
    pd.testing.assert_frame_equal(loaded.predict(data, "valid").table, second.table, check_exact=True)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_batches_do_not_depend_on_the_cache_or_the_number_of_workers(split, library):
    for file in sorted(library.rglob("*.wav"))[::3]:  # another rate, so that some files are resampled
        write_tone(file, 500, 7, rate=11025)
    first, *others = [batches(opened(library, *overrides), split) for overrides in (
        ["data.cache=none"], ["data.cache=waveform"], ["data.workers=1"], ["data.workers=7", "data.cache=none"],
    )]  # fmt: skip
    assert all(same(first, other) for other in others)
    assert first[0][0].dtype == torch.int16
    assert first[0][0].shape[-1] == round(0.75 * RATE)


def test_a_single_crop_is_cut_from_the_middle_or_the_start(library):
    full = batches(opened(library, "data.clip_seconds=1.5", "data.eval_crops=1"), "valid")[0][0][:, 0]
    n, room = round(0.75 * RATE), round(1.5 * RATE) - round(0.75 * RATE)
    for overrides, start in (
        (["data.eval_crop_position=start"], 0),
        (["data.eval_crop_position=middle"], room // 2),
        ([], room // 2),
    ):
        crops = batches(opened(library, "data.eval_crops=1", *overrides), "valid")[0][0][:, 0]
        assert torch.equal(crops, full[: len(crops), start : start + n]), overrides


def test_training_crops_depend_on_seed_epoch_and_track(library):
    data = opened(library)
    first = batches(data, "train")
    assert same(first, batches(data, "train"))
    assert not same(first, batches(data, "train", epoch=1))
    assert not same(first, batches(data, "train", seed=5))

    def by_draw(epoch):
        return {int(d): x for batch in epoch for x, d in zip(batch[0], batch[2], strict=True)}

    large, small = by_draw(first), by_draw(batches(data, "train", batch_size=5))
    assert large.keys() == small.keys()
    assert all(torch.equal(large[d], small[d]) for d in large)


def test_training_crops_do_not_depend_on_tracks_of_other_splits(library):
    data = opened(library)
    before = batches(data, "train")
    removed = [path for path, split in zip(data.tracks.path, data.tracks.split, strict=True) if split == "test"]
    remaining = np.flatnonzero((data.tracks.split != "test").to_numpy())
    assert removed
    assert remaining.tolist() != list(range(len(remaining)))  # rows of other tracks move
    data.tracks, data.recording = data.tracks.iloc[remaining].reset_index(drop=True), data.recording[remaining]
    after = batches(data, "train")
    assert same(before, after)
    assert all(torch.equal(a[2], b[2]) for a, b in zip(before, after, strict=True))


def test_augmentation_may_need_longer_crops_in_training_only(library):
    data = opened(library)
    for split, factor in (("train", 1.1), ("valid", 1.0)):
        x = batches(data, split, crop_factor=1.1)[0][0]
        assert x.shape[-1] == int(np.ceil(round(0.75 * RATE) * factor))


@pytest.mark.parametrize(
    "augmentation",
    ["full", *(pytest.param(name, marks=pytest.mark.slow) for name in ("waveform", "spectrogram", "seed_v2"))],
)
def test_augmentation_changes_training_only(run, library, here, augmentation):
    data = opened(library)
    overrides = ["data=folder", f"data.root={library}", *SMALL]
    for name in ("none", augmentation):
        assert run("train", *overrides, f"augmentation={name}", f"run_dir={name}").code == 0
    plain, augmented = (Run.open(here / name) for name in ("none", augmentation))
    assert not plain.predictions("valid").table.equals(augmented.predictions("valid").table)
    pd.testing.assert_frame_equal(  # data without augmentation gives the predictions of the run
        augmented.classifier().predict(data, "valid").table,
        augmented.predictions("valid").table,
        check_exact=True,
        check_dtype=False,
    )


def test_probabilities_are_averaged_over_the_crops_of_a_track():
    from musicreclass.models.cnn import PlainCNN
    from musicreclass.training.module import crop_logits

    torch.manual_seed(0)
    network = PlainCNN(3, channels=4).eval()
    x = torch.randn(3, 2, 40 * 30)
    logits = crop_logits(lambda clips: network(clips.reshape(-1, 1, 30, 40)), x)
    expected = torch.softmax(network(x.flatten(0, 1).reshape(-1, 1, 30, 40)), 1).reshape(3, 2, 3).mean(1)
    assert torch.allclose(torch.softmax(logits, 1), expected, atol=1e-6)
    parts = torch.cat([crop_logits(lambda clips: network(clips.reshape(-1, 1, 30, 40)), part) for part in x.split(1)])
    assert torch.allclose(parts, logits, atol=1e-5)


def test_the_balanced_sampler_draws_all_classes_equally_often(library):
    for file in sorted((library / "rock").rglob("*.wav"))[3:]:
        file.unlink()
    data = opened(library, "data.sampler=balanced", "data/split=random")
    classes = np.concatenate([batch[1].numpy() for epoch in range(60) for batch in batches(data, "train", epoch)])
    assert np.abs(np.bincount(classes) / len(classes) - 1 / 3).max() < 0.05
    draws = [int(d) for batch in batches(data, "train") for d in batch[2]]
    assert len(set(draws)) == len(draws)  # repeated draws of a track are cut differently


def test_a_limited_scoring_loader_covers_the_whole_split(library):
    loader = opened(library).scoring_loader("train", LoaderSettings(batch_size=4), crops=1, limit=6)
    assert set(torch.cat([y for _, y, _ in loader]).tolist()) == {0, 1, 2}
