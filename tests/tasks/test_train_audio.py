"""From a folder of recordings to a scored network."""

from __future__ import annotations

import pandas as pd
import pytest

from musicreclass.runs.folder import Run
from tests.conftest import only_run, written_at
from tests.library import SMALL, TONES, opened, write_tone


def test_a_folder_library_trains_is_scored_and_is_not_trained_twice(run, library, here, monkeypatch):
    from musicreclass.training.module import GenreModule

    arguments = [
        "data=folder",
        f"data.root={library}",
        *SMALL,
        "trainer.max_epochs=25",
        "optimizer.lr=0.01",
        "evaluate=[valid,test]",
    ]
    result = run("train", *arguments)
    assert result.code == 0, result.err
    finished = Run.open(only_run(here))
    assert (finished.metrics["protocol"]["split"], finished.metrics["protocol"]["leaky"]) == ("grouped", "no")
    assert finished.metrics["valid"]["accuracy"] == 1.0
    assert finished.metrics["valid"]["n"] == len(finished.predictions("valid"))
    files = written_at(finished.folder)
    assert run("train", *arguments).code == 0
    assert written_at(finished.folder) == files
    again = finished.classifier().predict(opened(library), "valid")
    pd.testing.assert_frame_equal(again.table, finished.predictions("valid").table, check_exact=True, check_dtype=False)
    write_tone(library / "jazz" / "artist 9" / "new.wav", 900, 1)
    monkeypatch.setattr(GenreModule, "training_step", interrupt)
    assert run("train", *arguments).code == 130
    assert len(list((here / "outputs").glob("folder-*"))) == 2
    assert written_at(finished.folder) == files


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_run_is_scored_on_another_library(run, clip_run, here):
    for genre, tone in TONES.items():
        for i in range(5):
            write_tone(here / "other" / genre / f"{i}.wav", tone, 900 + i, rate=16000)
    result = run("evaluate", "r", "data=folder", f"data.root={here / 'other'}", "--split", "all")
    assert result.code == 0, result.err
    (name,) = Run.open(here / "r").metrics["elsewhere"]
    assert Run.open(here / "r").metrics["elsewhere"][name]["n"] == 15
    result = run("evaluate", "r", "data=demo", "--split", "all")
    assert (result.code, [problem.kind for problem in result.problems]) == (2, ["input_mismatch"])


def test_a_network_over_audio_resumes_exactly(run, library, here, monkeypatch):
    from musicreclass.training.module import GenreModule

    arguments = [
        "data=folder",
        f"data.root={library}",
        *SMALL,
        "trainer.max_epochs=3",
        "augmentation=full",
        "data.sampler=balanced",
    ]
    assert run("train", *arguments, "run_dir=whole").code == 0
    original = GenreModule.training_step

    def break_at(self, batch, batch_idx):
        if self.current_epoch == 2 and batch_idx == 0:
            raise MemoryError("pulled the plug")
        original(self, batch, batch_idx)

    with monkeypatch.context() as broken:
        broken.setattr(GenreModule, "training_step", break_at)
        assert run("train", *arguments, "run_dir=broken").code == 1
    assert run("train", *arguments, "run_dir=broken", "data.workers=3").code == 0
    one, two = (Run.open(here / name).predictions("valid").table for name in ("whole", "broken"))
    pd.testing.assert_frame_equal(one, two, check_exact=True, check_dtype=False)


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
    arguments = [w for w in SMALL if not w.startswith("model")]
    result = run("train", "--config-dir", "conf", "data=folder", f"data.root={library}", "model=wave", *arguments)
    assert result.code == 0, result.err
    assert Run.open(only_run(here)).classifier(trust=("my_wave",)).card.frontend is None


def test_impossible_settings_are_reported_in_one_line(run, library):
    arguments = ["data=folder", f"data.root={library}", *SMALL]
    for override, expected in {
        "model.frontend.n_mels=0": "model.frontend.n_mels=0: must be a whole number, at least 8",
        "augmentation.gain_p=3": "augmentation.gain_p=3: must be a probability",
        "data.clip_seconds=0": "data.clip_seconds=0: must be a number, above 0",
        "augmentation.noise_snr=[30,10]": "augmentation.noise_snr=[30,10]: must be [lowest, highest]",
    }.items():
        result = run("train", *arguments, override)
        assert (result.code, len(result.lines)) == (2, 1), (override, result.err)
        assert expected in result.lines[0]


@pytest.mark.slow
def test_the_demos_clips_train(run, here):
    arguments = [w for w in SMALL if not w.startswith("data")]
    result = run("train", "data=demo_audio", "data.clips_per_artist=1", *arguments, "trainer.max_epochs=1")
    assert result.code == 0, result.err
    assert Run.open(only_run(here)).metrics["protocol"]["leaky"] == "no"


def test_tensorboard_shows_speed_and_training_clips(run, library, here):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = [*(w for w in SMALL if w != "logger=none"), "trainer.max_epochs=2"]
    assert run("train", "data=folder", f"data.root={library}", *arguments, "augmentation=spectrogram").code == 0
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
    finished = Run.open(only_run(here))
    assert finished.provenance["tracks"] == {"train": 9, "valid": 1, "test": 0}
    assert finished.metrics["protocol"]["split"] == "official"


@pytest.mark.slow
def test_twenty_real_clips_are_memorised(run, real_data, here):
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


def test_clips_too_short_for_the_network_are_rejected_before_decoding(run, library, here):
    result = run(
        "train", "data=folder", f"data.root={library}", *SMALL, "data.clip_seconds=0.01", "data.min_seconds=0.01"
    )
    assert (result.code, len(result.lines)) == (2, 3 if "examining" in result.err else 1), result.err
    assert [(problem.kind, problem.key) for problem in result.problems] == [("clip_length", "data.clip_seconds")]
    assert not list((here / "outputs").glob("folder-*"))


def test_clip_settings_cannot_be_overridden_in_evaluation(run, clip_run):
    result = run("evaluate", "r", "data.eval_crops=20", "--split", "test")
    assert (result.code, [(problem.kind, problem.key) for problem in result.problems]) == (
        2,
        [("fixed_clips", "data.eval_crops")],
    )
