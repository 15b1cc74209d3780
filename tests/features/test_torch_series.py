"""The torch back end of the 518 features: equal to `fast`, in batches of one length, and through the store."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from musicreclass.data.audio.header import BadAudioError
from musicreclass.errors import DataError
from musicreclass.features.fma518 import batches, fast
from musicreclass.features.fma518.columns import COLUMNS, column_names
from musicreclass.features.fma518.constant_q import MIN_RATE
from musicreclass.features.fma518.extraction import extract, extract_file
from musicreclass.features.fma518.torch_series import compute_series, extract_batch
from musicreclass.storage.versions import FileVersion
from tests.conftest import written_at
from tests.features.test_feature_data import MFCC, arguments, table_of, write_music
from tests.features.test_fma518 import RATE, SIGNALS, clips_of, music
from tests.library import write_tone

CPU = torch.device("cpu")
SETS = ("mfcc", "zcr")


@pytest.mark.parametrize("name", [*SIGNALS, "the shortest clip"])
def test_the_series_are_those_of_fast(name):
    audio, rate = SIGNALS.get(name, (music(2, MIN_RATE + 1)[:-1], MIN_RATE + 1))
    if name != "silence":
        audio = (audio + 1e-4 * np.random.default_rng(2).standard_normal(len(audio))).astype(np.float32)
    expected = fast.compute_series(partial(fast.blocks_of, audio), rate)
    actual = compute_series(torch.from_numpy(audio)[None], rate, set(expected))
    assert list(actual) == list(expected)
    for set_name, values in expected.items():
        assert actual[set_name][0].shape == values.shape
        error = np.abs(actual[set_name][0].numpy() - values) / max(1e-6, float(np.abs(values).max()))
        # CENS has steps; the contrast depends on the quietest bins, in which float32 rounding is seen
        bound = {"chroma_cens": 3e-2, "tonnetz": 3e-2, "spectral_contrast": 3e-3}.get(set_name, 1e-3)
        assert np.quantile(error, 0.995) < bound, set_name


def test_a_batch_has_the_values_of_its_clips():
    clips = np.stack([music(seed=0), music(seed=1) ** 3, np.zeros(3 * RATE, np.float32), np.roll(music(), 99)])
    clips[1] = np.interp(np.arange(3 * RATE) * 0.98, np.arange(3 * RATE), clips[1])  # of another tuning
    together = extract_batch(clips, RATE)
    assert together.shape == (4, 518)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    for clip, row in zip(clips, together, strict=True):
        assert row == pytest.approx(extract(clip, RATE, "torch"), rel=1e-3, abs=1e-3)


def test_some_sets_have_the_values_of_all():
    every = dict(zip(COLUMNS, extract(music(), RATE, "torch"), strict=True))
    for sets in (["mfcc"], ["zcr"], ["chroma_stft", "tonnetz"], ["spectral_contrast", "spectral_rolloff"]):
        assert extract(music(), RATE, "torch", sets) == pytest.approx([every[name] for name in column_names(sets)])


def test_constant_series_have_skew_0_and_kurtosis_minus_3():
    row = dict(zip(COLUMNS, extract(np.zeros(3 * RATE), RATE, "torch"), strict=True))
    assert (row["rmse_skew_01"], row["rmse_kurtosis_01"], row["rmse_std_01"]) == (0, -3, 0)


def test_deterministic_mode_is_restored():
    torch.use_deterministic_algorithms(True)
    try:
        extract(music(), RATE, "torch", ["spectral_rolloff"])
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def error_on_real_music(real_data: Path, device: str) -> np.ndarray:
    """The largest difference to `fast` of each column, in standard deviations of the column."""
    rows: list[tuple[np.ndarray, np.ndarray]] = []
    for path in clips_of(real_data):
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        audio = np.resize(audio.mean(1), max(len(audio), 2 * rate))[: 6 * rate]
        rows.append((extract(audio, rate), extract_batch(np.stack([audio, audio[::-1]]), rate, device)[0]))
    expected, actual = map(np.array, zip(*rows, strict=True))
    return np.abs(actual - expected).max(0) / expected.std(0)


def test_real_music_has_the_values_of_fast(real_data):
    error = error_on_real_music(real_data, "cpu")
    assert (error < 1e-2).mean() >= 0.98
    differing = {name.rsplit("_", 2)[0] for name, e in zip(COLUMNS, error, strict=True) if e >= 1e-2}
    assert differing <= {"spectral_contrast", "spectral_rolloff"}


@pytest.mark.gpu
def test_a_gpu_gives_the_values_of_fast(real_data):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    assert (error_on_real_music(real_data, "cuda") < 1e-2).mean() >= 0.98


@pytest.mark.gpu
@pytest.mark.parametrize("name", SIGNALS)
def test_a_gpu_gives_the_series_of_the_cpu(name):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    audio, rate = SIGNALS[name]
    cpu, cuda = (extract_batch(audio[None], rate, device, ["mfcc", "rmse", "zcr"])[0] for device in ("cpu", "cuda"))
    assert cuda == pytest.approx(cpu, rel=1e-3, abs=1e-3)


def jobs_of(folder: Path) -> dict[int, tuple[Path, FileVersion | None]]:
    return {row: (path, FileVersion.of(path)) for row, path in enumerate(sorted(folder.rglob("*.wav")))}


@pytest.mark.parametrize(("batch", "waiting"), [(1e9, 1e9), (2.1, 1e9), (1e9, 3.0), (0, 0)])
def test_recordings_of_several_lengths_are_batched(tmp_path, monkeypatch, batch, waiting):
    """Limits in multiples of a recording."""
    for i in range(9):
        write_tone(tmp_path / f"{i}.wav", 300 + 20 * i, i, seconds=2.1 + 0.1 * (i % 3), rate=16000)
    write_tone(tmp_path / "9.wav", 300, 9, seconds=1, rate=16000)
    sizes: list[int] = []

    def count(waveforms, *arguments):
        sizes.append(len(waveforms))
        return extract_batch(waveforms, *arguments)

    monkeypatch.setattr(batches, "extract_batch", count)
    monkeypatch.setattr(batches, "BATCH_SAMPLES", batch * 2.3 * 16000)
    monkeypatch.setattr(batches, "WAITING_SAMPLES", waiting * 2.3 * 16000)
    jobs = jobs_of(tmp_path)
    outcomes = dict(batches.in_batches(jobs, 2, CPU, SETS))
    assert sorted(outcomes) == list(range(10))
    assert outcomes.pop(9)[0] == "too short"
    for row, vector in outcomes.items():
        assert vector == pytest.approx(extract_file(jobs[row][0], "fast", SETS), rel=1e-3, abs=1e-3)
    assert sum(sizes) == 9
    expected = {1e9: 3, 2.1: 2, 0: 1}[batch]
    assert max(sizes) == expected if waiting == 1e9 or not waiting else max(sizes) <= 3


def test_long_recordings_are_computed_by_fast(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "long.wav", music(), RATE)
    monkeypatch.setattr(batches, "KEPT_SECONDS", 1)
    monkeypatch.setattr("musicreclass.features.fma518.extraction.KEPT_SECONDS", 1)
    ((_, vector),) = batches.in_batches(jobs_of(tmp_path), 1, CPU, SETS)
    fast_vector = extract_file(tmp_path / "long.wav", "fast", SETS)
    assert np.array_equal(vector, fast_vector)
    assert np.array_equal(extract_file(tmp_path / "long.wav", "torch", SETS), fast_vector)


def test_a_batch_that_does_not_fit_is_halved(tmp_path, monkeypatch):
    for i in range(5):
        write_tone(tmp_path / f"{i}.wav", 300 + 20 * i, i, seconds=2.1, rate=16000)

    def fit(capacity: int) -> None:
        def limited(waveforms, *arguments):
            if len(waveforms) > capacity:
                raise torch.OutOfMemoryError
            return extract_batch(waveforms, *arguments)

        monkeypatch.setattr(batches, "extract_batch", limited)

    fit(2)
    outcomes = dict(batches.in_batches(jobs_of(tmp_path), 2, CPU, SETS))
    assert all(isinstance(vector, np.ndarray) for vector in outcomes.values())
    fit(0)
    errors = [error for _, error in batches.in_batches(jobs_of(tmp_path), 2, CPU, SETS)]
    assert {error.kind for error in errors if isinstance(error, DataError)} == {"out_of_memory"}
    assert sorted(error.key for error in errors) == sorted(str(path) for path, _ in jobs_of(tmp_path).values())


def test_unusable_files_are_rejected(tmp_path):
    soundfile.write(tmp_path / "bad.wav", np.zeros(RATE), RATE)
    with pytest.raises(BadAudioError) as caught:
        extract_file(tmp_path / "bad.wav", "torch")
    assert caught.value.reason == "too short"


def test_torch_is_a_back_end_of_the_store(run, here, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "cache"))
    library = write_music(here / "music")
    write_tone(library / "jazz/short.wav", 900, 1, seconds=1.5, rate=16000)
    options = (MFCC, "features=fma518", "data.max_bad_fraction=0.5")
    cpu = table_of(library, *options)
    data = table_of(library, *options, "features.backend=torch")
    assert data.bad_files == cpu.bad_files == {str(library / "jazz/short.wav"): "too short"}
    assert data.x == pytest.approx(cpu.x, rel=1e-3, abs=1e-3)
    assert data.fingerprint() != cpu.fingerprint()
    assert len(list((here / "cache/vectors").iterdir())) == 2
    stored = written_at(here / "cache/vectors", "*.npy")
    result = run("train", *arguments(library, *options, "features.backend=torch", "run_dir=r"))
    assert result.code == 0, result.err
    assert written_at(here / "cache/vectors", "*.npy") == stored
    predicted = run("predict", "r", "--input", library / "jazz/0.wav", "--output", "g.csv")
    assert predicted.code == 0, predicted.err
