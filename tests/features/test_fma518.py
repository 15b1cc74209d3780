"""The 518 features: their names and order, the five corrections to librosa, and the fast back end against the reference."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from musicreclass import features
from musicreclass.data.audio.header import BadAudioError
from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.features.fma518 import fast, reference
from musicreclass.features.fma518.columns import COLUMNS, STATISTICS, column_names
from musicreclass.features.fma518.constant_q import MIN_RATE, constant_q
from musicreclass.features.fma518.extraction import KEPT_SECONDS, extract, extract_file
from musicreclass.features.fma518.frames import Framer
from musicreclass.features.fma518.statistics import summarise

RATE = 44100
BACKENDS = ("fast", "reference")


def music(seconds: float = 3, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Pitch, noise and a beat."""
    t = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(seed)
    tune = np.sin(2 * np.pi * 220 * t) + 0.5 * np.sin(2 * np.pi * 329.6 * t) * (t > 1)
    beat = np.sin(2 * np.pi * 2 * t) > 0
    return (0.3 * (tune + 0.2 * rng.standard_normal(len(t)) * beat)).astype(np.float32)


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    return music()


def series_of(backend: str, audio: np.ndarray, rate: int = RATE) -> dict[str, np.ndarray]:
    audio = audio.astype(np.float32)
    if backend == "fast":
        return fast.compute_series(partial(fast.blocks_of, audio), rate)
    return reference.compute_series(audio, rate)


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def series(audio, backend) -> dict[str, np.ndarray]:
    return series_of(backend, audio)


def test_columns_are_as_published():
    assert len(COLUMNS) == len(set(COLUMNS)) == 518
    assert sum(SERIES.values()) == 74
    assert list(SERIES) == sorted(SERIES)
    assert list(STATISTICS) == sorted(STATISTICS)
    assert COLUMNS[0] == "chroma_cens_kurtosis_01"
    assert COLUMNS[-1] == "zcr_std_01"
    assert COLUMNS.index("mfcc_mean_01") == 3 * 84 + 2 * 20
    index = features.columns()
    assert index.names == ["feature", "statistics", "number"]
    assert ["_".join(parts) for parts in index] == list(COLUMNS)


def test_a_row_contains_the_statistics_of_the_series(audio, series, backend):
    row = dict(zip(COLUMNS, features.extract(audio, RATE, backend=backend), strict=True))
    assert {name: values.shape[0] for name, values in series.items()} == SERIES
    assert row["mfcc_mean_02"] == pytest.approx(series["mfcc"][1].mean(), rel=1e-5)
    assert row["zcr_max_01"] == pytest.approx(series["zcr"].max(), rel=1e-5)
    assert row["tonnetz_std_06"] == pytest.approx(series["tonnetz"][5].std(), rel=1e-4)


def test_a_rmse_is_over_bins(audio, series):
    spectrum = np.abs(librosa.stft(audio, n_fft=2048, hop_length=512, pad_mode="reflect"))
    assert series["rmse"][0] == pytest.approx(np.sqrt((spectrum**2).mean(0)), rel=1e-4)
    assert not np.allclose(series["rmse"], librosa.feature.rms(S=spectrum), rtol=0.1)


def test_b_chroma_folds_twelve_bins_per_octave(backend):
    """A pure A has pitch class 9 with 12 bins per octave, but not with librosa's default of 36."""
    t = np.arange(3 * RATE) / RATE
    pure = np.sin(2 * np.pi * 440 * t)
    folded = series_of(backend, pure)
    assert (folded["chroma_cqt"].mean(1).argmax(), folded["chroma_cens"].mean(1).argmax()) == (9, 9)
    cqt = np.abs(librosa.cqt(pure, sr=RATE, hop_length=512, n_bins=84, tuning=None))
    assert librosa.feature.chroma_cqt(C=cqt, n_chroma=12, n_octaves=7).mean(1).argmax() != 9


def test_c_some_features_assume_22050_hertz(series, backend):
    t = np.arange(3 * RATE) / RATE
    tone = series_of(backend, np.sin(2 * np.pi * 1000 * t))
    middle = tone["spectral_centroid"][0, 20:-20].mean()
    assert middle == pytest.approx(500, rel=0.02)  # 1000 Hz at the true rate
    assert tone["chroma_cqt"].mean(1).argmax() == 11  # the constant-Q features use the true rate: 1000 Hz is a B
    assert tone["mfcc"].shape == series["mfcc"].shape


def test_d_transforms_pad_by_reflection(backend):
    """With reflection a constant signal stays constant to its ends; with zero padding it would fade out."""
    constant = series_of(backend, np.full(3 * RATE, 0.5))
    assert constant["rmse"][0, 0] == pytest.approx(constant["rmse"][0, 100], rel=1e-6)
    zeros = np.abs(librosa.stft(np.ones(3 * RATE) * 0.5, n_fft=2048, hop_length=512))
    assert np.sqrt((zeros**2).mean(0))[0] < 0.8 * constant["rmse"][0, 0]


def test_e_constant_series_have_skew_0_and_kurtosis_minus_3(backend):
    for dtype in (np.float32, np.float64):
        summary = dict(zip(STATISTICS, summarise(np.full((1, 50), 0.1, dtype))[:, 0], strict=True))
        assert (summary["skew"], summary["kurtosis"]) == (0, -3)
        assert summary["std"] == pytest.approx(0, abs=1e-9)
    row = dict(zip(COLUMNS, extract(np.zeros(3 * RATE), RATE, backend), strict=True))
    assert np.isfinite(list(row.values())).all()
    assert (row["rmse_skew_01"], row["rmse_kurtosis_01"]) == (0, -3)


def test_statistics_are_biased_skew_and_fisher_kurtosis():
    values = np.array([[0.0, 0.0, 0.0, 4.0]])
    summary = dict(zip(STATISTICS, summarise(values)[:, 0], strict=True))
    assert summary["skew"] == pytest.approx(1.1547005)
    assert summary["kurtosis"] == pytest.approx(-2 / 3)
    assert (summary["median"], summary["mean"], summary["min"], summary["max"]) == (0, 1, 0, 4)


@pytest.mark.parametrize(
    ("waveform", "rate", "named"),
    [
        (np.zeros(RATE), RATE, "1.0 s"),
        (np.zeros((3 * RATE, 2)), RATE, "shape"),
        (np.zeros(3 * RATE, np.int16), RATE, "int16"),
        (np.full(3 * RATE, np.nan), RATE, "NaN"),
        (np.zeros(3 * 8000), 8000, str(MIN_RATE)),
        (np.zeros(3 * RATE), RATE, "backend"),
    ],
)
def test_unusable_input_is_rejected(waveform, rate, named):
    with pytest.raises(ValueError, match=named):
        extract(waveform, rate, "fastest" if named == "backend" else "fast")


SIGNALS = {
    "music at 44.1 kHz": (music(), RATE),
    "music at 22.05 kHz": (music(4, 22050), 22050),
    "music at 48 kHz": (music(3, 48000), 48000),
    "music at 96 kHz": (music(2, 96000), 96000),
    "music at 16 kHz": (music(3, 16000), 16000),
    "music at the lowest rate": (music(3, MIN_RATE), MIN_RATE),
    "an odd length": (music()[:-777], RATE),
    "silence": (np.zeros(3 * RATE, np.float32), RATE),
    "clipping": (np.clip(20 * music(), -1, 1), RATE),
    "a pure tone": (np.sin(2 * np.pi * 1234.5 * np.arange(3 * RATE) / RATE).astype(np.float32), RATE),
    "a quiet end": (music() * (np.arange(3 * RATE) < 1.5 * RATE), RATE),
    "noise": (np.random.default_rng(1).uniform(-1, 1, 3 * RATE).astype(np.float32), RATE),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_both_back_ends_give_the_same_series(name):
    audio, rate = SIGNALS[name]
    if name != "silence":  # without a noise floor, some features would be of rounding errors
        audio = (audio + 1e-4 * np.random.default_rng(2).standard_normal(len(audio))).astype(np.float32)
    expected, actual = series_of("reference", audio, rate), series_of("fast", audio, rate)
    assert list(actual) == list(expected) == list(SERIES)
    for set_name, values in expected.items():
        assert actual[set_name].shape == values.shape
        scale = max(1e-6, float(np.abs(values).max()))
        error = np.abs(actual[set_name] - values) / scale
        # CENS has steps; the contrast depends on the quietest bins, in which float32 rounding is seen
        bound = {"chroma_cens": 3e-2, "tonnetz": 3e-2, "spectral_contrast": 3e-3}.get(set_name, 1e-3)
        assert np.quantile(error, 0.995) < bound, set_name


@given(st.lists(st.integers(0, 40_000), max_size=6), st.integers(2, 3), st.sampled_from([22050, RATE]))
@settings(max_examples=8, deadline=None)
def test_blocks_do_not_change_the_series(cuts, seconds, rate):
    audio = music(seconds, rate)
    blocks = np.split(audio, np.sort(cuts))
    unsplit, parts = (fast.compute_series(lambda b=b: b, rate) for b in ([audio], blocks))
    for name, values in unsplit.items():
        scale = max(1e-6, float(np.abs(values).max()))
        assert np.quantile(np.abs(parts[name] - values) / scale, 0.995) < 1e-4, name


@given(st.integers(600, 5000), st.sampled_from([(1024, 256), (256, 512), (128, 4)]), st.data())
@settings(max_examples=40, deadline=None)
def test_frames_are_centred_and_reflected(length, sizes, data):
    size, hop = sizes
    signal = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    cuts = data.draw(st.lists(st.integers(0, length), max_size=4))
    framer = Framer(size, hop)
    frames = [framer.push(block).copy() for block in np.split(signal, np.sort(cuts))] + [framer.finish()]
    padded = np.pad(signal, size // 2, mode="reflect")
    assert np.array_equal(np.concatenate(frames), librosa.util.frame(padded, frame_length=size, hop_length=hop).T)


@pytest.mark.parametrize("rate", [MIN_RATE, 16000, 22050, 32000, 44100, 48000, 96000])
def test_constant_q_equals_librosa(rate):
    audio = music(2, rate)
    expected = np.abs(librosa.cqt(audio, sr=rate, hop_length=512, n_bins=84, tuning=0.13, pad_mode="reflect"))
    assert constant_q([audio], rate, 0.13) == pytest.approx(expected, abs=1e-5 * float(expected.max()))


def test_a_lower_rate_is_too_low_for_librosa_too():
    with pytest.raises(librosa.ParameterError):
        librosa.cqt(music(2, MIN_RATE - 10), sr=MIN_RATE - 10, hop_length=512, n_bins=84, tuning=0.5)


@pytest.mark.parametrize(
    "sets", [["mfcc"], ["zcr", "rmse"], ["chroma_stft"], ["tonnetz"], ["spectral_rolloff", "mfcc"]]
)
def test_some_sets_have_the_values_of_all(audio, backend, sets):
    every = dict(zip(COLUMNS, extract(audio, RATE, backend), strict=True))
    some = extract(audio, RATE, backend, sets)
    names = column_names(name for name in SERIES if name in sets)
    assert some == pytest.approx([every[name] for name in names], rel=1e-6)


def test_unknown_sets_are_rejected(audio):
    for sets in (["mfc"], []):
        with pytest.raises(ValueError, match="mfcc"):
            extract(audio, RATE, sets=sets)


def test_stereo_is_averaged(audio, tmp_path, backend):
    stereo = np.stack([audio, 0.5 * audio[::-1]])
    mono = extract(stereo.mean(0), RATE, backend)
    assert extract(stereo, RATE, backend) == pytest.approx(mono, rel=1e-4, abs=1e-5)
    soundfile.write(tmp_path / "stereo.wav", stereo.T, RATE, subtype="FLOAT")
    assert extract_file(tmp_path / "stereo.wav", backend) == pytest.approx(mono, rel=1e-4, abs=1e-5)


def test_long_files_are_decoded_twice_with_the_same_result(tmp_path, monkeypatch):
    audio = music(70, 22050)
    soundfile.write(tmp_path / "long.wav", audio, 22050, subtype="FLOAT")
    stored = extract_file(tmp_path / "long.wav")
    monkeypatch.setattr("musicreclass.features.fma518.extraction.KEPT_SECONDS", 1)
    monkeypatch.setattr("musicreclass.features.fma518.spectrum.KEPT_FRAMES", 100)
    assert KEPT_SECONDS > 70
    assert np.array_equal(extract_file(tmp_path / "long.wav"), stored)
    assert extract(audio, 22050) == pytest.approx(stored, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("seconds", "rate", "reason"), [(1, RATE, "too short"), (3, 8000, "not supported"), (0, RATE, "too short")]
)
def test_unusable_files_are_rejected(tmp_path: Path, seconds, rate, reason):
    soundfile.write(tmp_path / "bad.wav", np.zeros(seconds * rate), rate)
    with pytest.raises(BadAudioError) as caught:
        extract_file(tmp_path / "bad.wav")
    assert (caught.value.reason, caught.value.path) == (reason, tmp_path / "bad.wav")


def clips_of(real_data: Path) -> list[Path]:
    wavs = sorted((real_data / "GTZAN_excerpts/Data/genres_original").glob("*/*.wav"))[::20]
    return wavs + sorted((real_data / "FMA").rglob("*.mp3"))[:3]


def test_both_back_ends_agree_on_real_music(real_data):
    """Few values depend on rounding: the quietest bins of the contrast, and frames at a threshold."""
    rows = {backend: [] for backend in BACKENDS}
    for path in clips_of(real_data):
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
        audio = np.resize(audio.mean(1), max(len(audio), 2 * rate))[: 6 * rate]
        for backend in BACKENDS:
            rows[backend].append(extract(audio, rate, backend))
    expected, actual = (np.array(rows[backend]) for backend in ("reference", "fast"))
    assert np.isfinite(actual).all()
    error = np.abs(actual - expected).max(0) / expected.std(0)
    assert (error < 1e-2).mean() >= 0.98
    assert {name.rsplit("_", 2)[0] for name, e in zip(COLUMNS, error, strict=True) if e >= 1e-2} <= {
        "spectral_contrast",
        "spectral_rolloff",
        "chroma_cens",
        "tonnetz",
    }
