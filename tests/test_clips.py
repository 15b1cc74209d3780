"""Audio, from folders of recordings to a scored network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from musicreclass.check import compose
from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.build import build, load
from musicreclass.data.recordings import AudioData
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.hardware.profile import Profile
from musicreclass.run import Run
from musicreclass.train import open_data
from tests.conftest import LISTENERS, only_run, powerless

RATE = 8000
SMALL = ["model=cnn_small", "model.channels=4", "model.hidden=8", f"model.sample_rate={RATE}", "model.frontend.n_fft=256",
         "model.frontend.hop_length=128", "model.frontend.n_mels=24", "data.clip_seconds=0.75", "data.eval_crops=2", "data.min_seconds=0.5",
         "trainer.max_epochs=3", "trainer.batch_size=8", "hardware=cpu", "logger=none", "early_stopping=none"]  # fmt: skip
TONES = {"blues": 300, "jazz": 900, "rock": 2000}


def write(path: Path, frequency: float, seed: int, seconds: float = 1.5, rate: int = RATE, **options) -> None:
    """A tone with noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    sound = 0.3 * np.sin(2 * np.pi * frequency * (1 + 0.05 * random.random()) * time) + 0.05 * random.normal(
        size=len(time)
    )
    soundfile.write(path, sound, rate, **options)


@pytest.fixture
def library(here: Path) -> Path:
    """A folder of genre folders of artist folders."""
    for k, (genre, tone) in enumerate(TONES.items()):
        for artist in range(6):
            for take in range(2):
                write(
                    here / "lib" / genre / f"{genre} artist {artist}" / f"song {take}.wav",
                    tone,
                    100 * k + 10 * artist + take,
                )
    return here / "lib"


def opened(root: Path, *words: str) -> AudioData:
    from omegaconf import OmegaConf

    cfg = compose("train", ["data=folder", f'data.root="{root}"', *SMALL, *words])
    data = open_data(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    assert isinstance(data, AudioData)
    data.batch_size = 8
    return data


def test_ones_own_library_trains_is_scored_and_found_again(run, library, here):
    words = [
        "data=folder",
        f"data.root={library}",
        *SMALL,
        "trainer.max_epochs=25",
        "optimizer.lr=0.01",
        "evaluate=[valid,test]",
    ]
    result = run("train", *words)
    assert result.code == 0, result.err
    found = Run.open(only_run(here))
    assert (found.metrics["protocol"]["split"], found.metrics["protocol"]["leaky"]) == ("grouped", "no")
    assert found.metrics["valid"]["accuracy"] == 1.0
    assert found.metrics["valid"]["n"] == len(found.predictions("valid"))
    assert "found finished" in run("train", *words).out
    again = found.classifier().predict(opened(library), "valid")
    pd.testing.assert_frame_equal(again.table, found.predictions("valid").table, check_exact=True, check_dtype=False)
    write(library / "jazz" / "artist 9" / "new.wav", 900, 1)
    assert "found finished" not in run("train", *words).out
    assert len(list((here / "outputs").glob("folder-*"))) == 2


def test_a_run_is_scored_on_another_library(run, library, here):
    assert run("train", "data=folder", f"data.root={library}", *SMALL, "run_dir=r").code == 0
    for genre, tone in TONES.items():
        for i in range(5):
            write(here / "other" / genre / f"{i}.wav", tone, 900 + i, rate=16000)
    result = run("evaluate", "r", "data=folder", f"data.root={here / 'other'}", "--split", "all")
    assert result.code == 0, result.err
    (name,) = Run.open(here / "r").metrics["elsewhere"]
    assert Run.open(here / "r").metrics["elsewhere"][name]["n"] == 15
    result = run("evaluate", "r", "data=demo", "--split", "all")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "data=demo gives a table" in result.lines[0]


def test_artists_come_from_folders_or_tags(library, here):
    assert set(opened(library).tracks.group) == {f"{genre} artist {i}" for genre in TONES for i in range(6)}
    assert opened(library, "data.group_by=none", "data/split=random").tracks.group.isna().all()
    for genre in TONES:
        for i in range(4):
            file = here / "flat" / genre / f"{i}.flac"
            file.parent.mkdir(parents=True, exist_ok=True)
            with soundfile.SoundFile(file, "w", RATE, 1) as sound:
                sound.artist = f"Tagged {i % 2}"
                sound.write(np.random.default_rng(i).normal(size=2 * RATE) * 0.1)
    data = opened(here / "flat", "data.group_by=tag", "data/split=random")
    assert set(data.tracks.group) == {"tagged 0", "tagged 1"}


def batches(data: AudioData, split: str, epoch: int = 0) -> list[list[torch.Tensor]]:
    loader = data.train_dataloader() if split == "train" else data.scoring_batches(split)
    if loader.sampler is not None:
        loader.sampler.set_epoch(epoch)
    return [list(batch) for batch in loader]


def same(one: list[list[torch.Tensor]], two: list[list[torch.Tensor]]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("model", LISTENERS)
def test_contract(model, library, here):
    """As in test_classifiers, for what reads a waveform."""
    sizes = [f"model={model}", "model.channels=4", "trainer.max_epochs=12", "optimizer.lr=0.01",
             *(w for w in SMALL if not w.startswith(("model=", "model.channels", "model.hidden", "trainer.max")))]  # fmt: skip
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
    assert again.meta == classifier.meta
    pd.testing.assert_frame_equal(again.predict(data, "valid").table, found[1].table, check_exact=True)


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_batches_are_the_same_with_and_without_the_cache_and_for_any_number_of_workers(split, library):
    for file in sorted(library.rglob("*.wav"))[::3]:  # other rates, so that there is something to resample
        write(file, 500, 7, rate=11025)
    found = [batches(opened(library, *words), split) for words in (
        ["data.cache=none"], ["data.cache=waveform"], ["data.workers=1"], ["data.workers=7", "data.cache=none"],
    )]  # fmt: skip
    assert all(same(found[0], other) for other in found[1:])
    assert found[0][0][0].dtype == torch.int16
    assert found[0][0][0].shape[-1] == round(0.75 * RATE)


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


def test_a_network_over_audio_goes_on_exactly(run, library, here, monkeypatch):
    from musicreclass.models.module import GenreModule

    words = [
        "data=folder",
        f"data.root={library}",
        *SMALL,
        "trainer.max_epochs=5",
        "augmentation=full",
        "data.sampler=balanced",
    ]
    assert run("train", *words, "run_dir=whole").code == 0
    original = GenreModule.training_step

    def break_at(self, batch, batch_idx):
        if self.current_epoch == 3 and batch_idx == 0:
            raise MemoryError("pulled the plug")
        original(self, batch, batch_idx)

    with monkeypatch.context() as broken:
        broken.setattr(GenreModule, "training_step", break_at)
        assert run("train", *words, "run_dir=broken").code == 1
    assert run("train", *words, "run_dir=broken", "data.workers=3").code == 0
    one, two = (Run.open(here / name).predictions("valid").table for name in ("whole", "broken"))
    pd.testing.assert_frame_equal(one, two, check_exact=True, check_dtype=False)


def test_micro_batches_change_nothing_but_batch_statistics(library):
    from musicreclass.models.cnn import PlainCNN
    from musicreclass.models.module import crop_logits

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


def spoil(library: Path) -> dict[str, Path]:
    bad = {
        "empty file": library / "jazz" / "zero.wav",
        "not audio": library / "jazz" / "text.mp3",
        "too short": library / "jazz" / "short.wav",
        "cut short": library / "rock" / "truncated.mp3",
    }
    bad["empty file"].write_bytes(b"")
    bad["not audio"].write_text("no music at all, only words " * 50)
    write(bad["too short"], 900, 3, seconds=0.2)
    write(bad["cut short"], 2000, 4, seconds=20, rate=22050)
    content = bad["cut short"].read_bytes()
    bad["cut short"].write_bytes(content[: len(content) // 3])
    return bad


def test_bad_files_are_named_counted_and_left_out(run, library, here):
    bad = spoil(library)
    data = opened(library, "data.max_bad_fraction=0.5")
    reasons = {reason: n for reason, n in data.dropped.items() if n}
    assert reasons == {f"whose file is bad: {reason}": 1 for reason in bad}
    assert not set(data.tracks.path) & {str(p) for p in bad.values()}
    assert "4 files cannot be used" in " ".join(data.notes)
    result = run("train", "data=folder", f"data.root={library}", *SMALL, "data.max_bad_fraction=0.5")
    assert result.code == 0
    assert "1 whose file is bad: empty file" in " ".join(result.out.split())
    refused = run("train", "data=folder", f"data.root={library}", *SMALL)
    assert refused.code == 2
    assert "10.0 % of the data files cannot be used" in refused.lines[-1]
    refused = run("train", "data=folder", f"data.root={library}", *SMALL, "data.on_bad_file=error")
    assert (refused.code, "and data.on_bad_file=error; skip leaves them out" in refused.lines[-1]) == (2, True)


def test_odd_libraries(library, here):
    for name, rate, channels in (("stereo", 44100, 2), ("phone", 8000, 1), ("песня-é-音", 22050, 1)):
        sound = np.random.default_rng(0).normal(size=(rate, channels)) * 0.1
        soundfile.write(library / "jazz" / f"{name}.wav", sound, rate)
    (library / "jazz" / "loop").symlink_to(library / "jazz")
    (library / "metal").mkdir()
    (library / ".hidden").mkdir()
    (library / "jazz" / "._resource.wav").write_bytes(b"junk")
    (library / "jazz" / "cover.jpg").write_bytes(b"junk")
    data = opened(library)
    assert len(data.tracks) == 36 + 3
    assert "the folder metal holds no recording" in data.notes
    assert {"jazz/песня-é-音.wav", "jazz/stereo.wav"} <= set(data.tracks.track_id)
    with pytest.raises(DatasetNotFoundError, match="no such folder"):
        opened(here / "nowhere")
    (here / "bare" / "jazz").mkdir(parents=True)
    with pytest.raises(DatasetNotFoundError, match=r"no recordings; it must hold a folder for each genre"):
        opened(here / "bare")
    shutil.rmtree(library / "jazz")
    shutil.rmtree(library / "blues")
    with pytest.raises(DataError, match="every track is of one class"):
        opened(library)


def test_an_unreadable_file(library):
    next(library.rglob("*.wav")).chmod(0)
    assert powerless(lambda: opened(library)).dropped == {"whose file is bad: cannot be read": 1}


def test_copies_of_a_recording_in_different_splits_are_a_leak(run, here):
    names = [f"{genre}.{i:05d}" for genre in ("blues", "jazz", "rock") for i in range(30)]
    lists = [n for n in names if n]
    for i, name in enumerate(lists):
        write(here / "GTZAN" / "genres" / name[:-6] / f"{name}.wav", TONES[name[:-6]], i)
    root = f"data.root={here / 'GTZAN'}"
    from musicreclass.data.gtzan import index

    placed = index().fault_filtered.reindex(lists)
    train, valid = (placed[placed == split].index[0] for split in ("train", "valid"))
    shutil.copy(
        here / "GTZAN" / "genres" / train[:-6] / f"{train}.wav", here / "GTZAN" / "genres" / valid[:-6] / f"{valid}.wav"
    )
    assert run("train", "data=gtzan", root, *SMALL, "trainer.max_epochs=1").code == 0
    protocol = Run.open(only_run(here)).metrics["protocol"]
    assert protocol["leaky"] == "yes"
    assert any("recording" in line for line in protocol["why"])


@pytest.mark.parametrize("layout", ["Data/genres_original", "genres", "genres_original", "GTZAN/genres", "."])
def test_gtzan_in_the_layouts_of_the_wild(layout, here):
    from musicreclass.data.gtzan import GTZAN

    for genre in ("blues", "jazz"):
        for i in range(4):
            write(here / "g" / layout / genre / f"{genre}.{i:05d}.au", TONES[genre], i)
    (here / "g" / layout / "pop").mkdir()
    data = GTZAN(
        str(here / "g"), {"protocol": "random", "valid": 0.25, "test": 0.25}, store=str(here / "c"), sample_rate=RATE
    )
    data.setup()
    assert len(data.tracks) == 8
    assert "the folder pop is empty" in data.notes
    assert "there is no folder metal" in data.notes


def test_gtzan_not_found(here):
    from musicreclass.data.gtzan import find_audio

    with pytest.raises(DatasetNotFoundError, match=r"no folders blues, classical, \.\.\. under "):
        find_audio(str(here))
    with pytest.raises(DatasetNotFoundError, match=r"data\.root=DIR"):
        find_audio(None)


def test_a_network_that_reads_the_waveform_itself(run, library, here):
    (here / "my_wave.py").write_text(
        "from torch import nn\n\n\nclass Wave(nn.Module):\n    def __init__(self, num_classes):\n        super().__init__()\n"
        "        self.net = nn.Sequential(nn.Conv1d(1, 8, 64, 16), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, num_classes))\n"
        "\n    def forward(self, x):\n        return self.net(x[:, None])\n"
    )  # fmt: skip
    (here / "conf" / "model").mkdir(parents=True)
    (here / "conf" / "model" / "wave.yaml").write_text(
        "_target_: my_wave.Wave\ninput: waveform\nsample_rate: 8000\nfrontend: null\n"
    )
    words = [w for w in SMALL if not w.startswith("model")]
    result = run("train", "--config-dir", "conf", "data=folder", f"data.root={library}", "model=wave", *words)
    assert result.code == 0, result.err
    assert Run.open(only_run(here)).classifier(trust=("my_wave",)).meta.frontend is None


def test_impossible_settings_are_one_line(run, library):
    words = ["data=folder", f"data.root={library}", *SMALL]
    for word, told in {
        "model.frontend.n_mels=0": "model.frontend.n_mels=0: must be a whole number, at least 8",
        "augmentation.gain_p=3": "augmentation.gain_p=3: must be a probability",
        "data.clip_seconds=0": "data.clip_seconds=0: must be a number, above 0",
        "augmentation.noise_snr=[30,10]": "augmentation.noise_snr=[30,10]: must be [lowest, highest]",
    }.items():
        result = run("train", *words, word)
        assert (result.code, len(result.lines)) == (2, 1), (word, result.err)
        assert told in result.lines[0]


def test_the_demos_clips_train(run, here):
    words = [w for w in SMALL if not w.startswith("data")]
    result = run("train", "data=demo_audio", "data.clips_per_artist=1", *words, "trainer.max_epochs=1")
    assert result.code == 0, result.err
    assert Run.open(only_run(here)).metrics["protocol"]["leaky"] == "no"


def test_tensorboard_shows_speed_and_training_clips(run, library, here):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = [w for w in SMALL if w != "logger=none"]
    assert run("train", "data=folder", f"data.root={library}", *words, "augmentation=spectrogram").code == 0
    events = EventAccumulator(str(only_run(here) / "tensorboard")).Reload()
    tags = events.Tags()
    assert {"speed/clips_per_second", "speed/waiting_share", "valid/loss", "train/macro_f1", "lr"} <= set(
        tags["scalars"]
    )
    assert "training_clips" in tags["images"]
    assert all(0 <= e.value <= 1 for e in events.Scalars("speed/waiting_share"))
    assert "speed" not in (only_run(here) / "history.csv").read_text()


def test_real_mp3s_of_fma(run, real_data, here):
    result = run("train", "data=fma_audio", f"data.root={real_data / 'FMA'}", "model=cnn_small", "model.channels=4", "hardware=cpu",
                 "trainer.max_epochs=1", "trainer.batch_size=4", "data.clip_seconds=3", "logger=none")  # fmt: skip
    assert result.code == 0, result.err
    found = Run.open(only_run(here))
    assert found.provenance["tracks"] == {"train": 9, "valid": 1, "test": 0}
    assert found.metrics["protocol"]["split"] == "official"


@pytest.mark.slow
def test_twenty_real_clips_are_learned_by_heart(run, real_data, here):
    result = run(
        "train",
        "data=gtzan",
        f"data.root={real_data / 'GTZAN'}",
        "model=cnn",
        "debug=overfit",
        "data.clip_seconds=3",
        "hardware=cpu",
    )
    assert result.code == 0, result.err
    assert Run.open(only_run(here)).metrics["train"]["accuracy"] == 1.0


def test_what_drops_out_for_a_moment_is_not_remembered_as_bad(library, here, monkeypatch):
    from musicreclass.data import audio

    real, away = audio.examine, []

    def examine(path, *rest):
        if not away:
            away.append(library.rename(here / "away"))
        return real(path, *rest)

    with monkeypatch.context() as unplugged:
        unplugged.setattr(audio, "examine", examine)
        with pytest.raises(DataError, match="it was there a moment ago"):
            opened(library, "data.cache=none", "data.workers=1")
    away[0].rename(library)
    assert len(opened(library, "data.cache=none").tracks) == 36


def test_a_file_that_changes_while_it_is_used_is_an_error(library):
    data = opened(library, "data.cache=none")
    for file in library.rglob("*.wav"):
        write(file, 400, 1, seconds=0.9)
    with pytest.raises(DataError, match="has changed since this run looked at it"):
        batches(data, "train")


def test_names_that_are_no_text_pipes_and_loops(library):
    (library / "jazz" / "self.wav").symlink_to(library / "jazz" / "self.wav")
    os.mkfifo(library / "jazz" / "pipe.wav")
    (library / "rock ").mkdir()
    write(library / "rock " / "one.wav", 2000, 77)
    with open(os.fsencode(library / "jazz") + b"/t\xff\xfe.wav", "wb") as file:
        file.write(next((library / "jazz").rglob("song*.wav")).read_bytes())
    data = opened(library, "data.max_bad_fraction=0.5")
    assert data.dropped["whose name is not UTF-8"] == 1
    assert data.classes == ["blues", "jazz", "rock"]
    assert "folders that differ by blanks alone are one genre: rock" in data.notes
    assert len(data.tracks) == 37
    assert {reason: n for reason, n in data.dropped.items() if "bad" in reason} == {
        "whose file is bad: cannot be read": 1
    }


def test_clips_too_short_for_the_network_are_refused_ahead(run, library, here):
    result = run(
        "train", "data=folder", f"data.root={library}", *SMALL, "data.clip_seconds=0.01", "data.min_seconds=0.01"
    )
    assert (result.code, len(result.lines)) == (2, 3 if "looking at" in result.err else 1), result.err
    assert "the network cannot take clips of 80 samples" in result.lines[-1]
    assert not list((here / "outputs").glob("folder-*"))


def test_the_log_mel_is_standardised_over_all_of_the_training_split(library):
    data = opened(library)
    data.batch_size = 4
    few = [y for _, y, _ in data.scoring_batches("train", crops=1, most=6)]
    assert set(torch.cat(few).tolist()) == {0, 1, 2}


def test_how_clips_are_cut_cannot_be_changed_for_a_model(run, library, here):
    assert run("train", "data=folder", f"data.root={library}", *SMALL, "trainer.max_epochs=1", "run_dir=r").code == 0
    result = run("evaluate", "r", "data.eval_crops=20", "--split", "test")
    assert (result.code, result.lines) == (
        2,
        ["data.eval_crops=20: clips are cut as they were in training; it cannot be changed here"],
    )
