"""The 518 features of a batch of clips by torch, on a GPU or on the CPU; equal to `fast` up to rounding.

The steps and filters are those of `fast`. Here the rate is halved by FFT with the response of the same resampler.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import librosa
import numpy as np
import scipy.fft
import soxr
import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from musicreclass.data.sources.fma_columns import SERIES
from musicreclass.features.fma518.columns import FMA_RATE, HOP, STATISTICS, WINDOW
from musicreclass.features.fma518.constant_q import OCTAVES, PER_OCTAVE, plan
from musicreclass.features.fma518.fast import CENS_SMOOTHING, CENS_STEPS
from musicreclass.features.fma518.spectrum import (
    DYNAMIC_RANGE,
    FLOOR,
    PITCH_THRESHOLD,
    ROLLOFF,
    SILENT,
    Tuning,
    chroma_filters,
    contrast_bands,
    hann,
    mel_filters,
)
from musicreclass.features.fma518.statistics import CONSTANT
from musicreclass.hardware.profile import without_tf32

EDGE = WINDOW // 2 // HOP  # frames that extend beyond each end of a clip
TAPS_PER_STEP = 1024  # of the resampler, by the factor that the rate is divided by
STEPS_PER_SEMITONE = 100  # of the histogram of librosa.pitch_tuning


@torch.inference_mode()
def extract_batch(
    waveforms: np.ndarray, rate: int, device: torch.device | str = "cpu", sets: Iterable[str] = tuple(SERIES)
) -> np.ndarray:
    """The features of clips of one length, float32 (clips, 518); fewer for fewer sets.

    Args:
        waveforms: mono, float32 (clips, samples) in [-1, 1]; a clip of 30 s at 44.1 kHz needs about 64 MiB (on the CPU).
        rate: samples per second; at least `constant_q.MIN_RATE`.
        device: CPU or CUDA.
        sets: the feature sets to compute, in the published order.
    """
    with without_tf32(), fastest_algorithms():
        series = compute_series(torch.from_numpy(waveforms).to(device), rate, set(sets))
        vectors = torch.cat([summarise(values).flatten(1) for values in series.values()], dim=1)
    return vectors.float().cpu().numpy()


@contextmanager
def fastest_algorithms() -> Iterator[None]:
    """Allow algorithms that add in any order; a Trainer that ran before forbids them."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def compute_series(audio: Tensor, rate: int, sets: set[str]) -> dict[str, Tensor]:
    """The time series of clips, by feature set, each (clips, size, frames)."""
    series: dict[str, Tensor] = {}
    if "zcr" in sets:
        series["zcr"] = crossing_rates(audio)[..., None]
    if sets - {"zcr"}:
        power = power_of(audio, "reflect")
        magnitude = power.sqrt()
        if sets & {"chroma_cens", "chroma_cqt", "tonnetz"}:
            zero_padded = power_of(edges_of(audio), "constant").sqrt()
            inner = magnitude[:, EDGE:-EDGE]
            tunings = tunings_of(torch.cat([zero_padded[:, :EDGE], inner, zero_padded[:, -EDGE:]], dim=1), rate)
            series |= constant_q_series(constant_q(audio, rate, tunings))
        if "chroma_stft" in sets:
            series["chroma_stft"] = normalised(power @ each_clip(chroma_filters, tunings_of(power, FMA_RATE), audio))
        if "mfcc" in sets:
            mel = power @ on(audio, mel_filters(rate))
            cosines = scipy.fft.dct(np.eye(mel.shape[-1]), axis=0, norm="ortho")[:20].astype(np.float32)
            series["mfcc"] = decibels(mel) @ on(audio, cosines.T)
        if "rmse" in sets:
            series["rmse"] = power.mean(-1, keepdim=True).sqrt()
        if "spectral_contrast" in sets:
            series["spectral_contrast"] = contrast(magnitude)
        if sets & {"spectral_bandwidth", "spectral_centroid", "spectral_rolloff"}:
            series |= shapes(magnitude)
    return {name: series[name].transpose(1, 2) for name in SERIES if name in sets}


def edges_of(audio: Tensor) -> Tensor:
    """A short clip with the start and the end of a clip, and with the same offset to the frames."""
    samples = audio.shape[1]
    keep = 2 * WINDOW
    return audio if samples <= 2 * keep else torch.cat([audio[:, :keep], audio[:, -keep - samples % HOP :]], dim=1)


def power_of(audio: Tensor, mode: str) -> Tensor:
    """Power spectra of centred frames, float32 (clips, frames, bins)."""
    frames = pad(audio[:, None], (WINDOW // 2, WINDOW // 2), mode=mode)[:, 0].unfold(1, WINDOW, HOP)
    spectra = torch.fft.rfft(frames * on(audio, hann()))
    return spectra.real.square().add_(spectra.imag.square())


def crossing_rates(audio: Tensor) -> Tensor:
    """Changes of sign per sample of each frame, float64 (clips, frames); as `spectrum.Crossings`."""
    negative = audio < -SILENT
    crossed = pad((negative[:, 1:] != negative[:, :-1]).int(), (1 + WINDOW // 2, WINDOW // 2))
    total = pad(crossed.cumsum(1), (1, 0))
    first = torch.arange(1 + audio.shape[1] // HOP, device=audio.device) * HOP
    return (total[:, first + WINDOW] - total[:, first + 1]).double() / WINDOW  # a frame's first sample does not count


def shapes(magnitude: Tensor) -> dict[str, Tensor]:
    """Centroid, bandwidth and roll-off in Hz; as `kernels.shape_of`."""
    bins = torch.arange(magnitude.shape[-1], device=magnitude.device, dtype=torch.float32)
    step = FMA_RATE / WINDOW
    reached = magnitude.cumsum(-1)
    total = reached[..., -1:]
    norm = torch.where(total < torch.finfo(torch.float32).tiny, 1.0, total)
    centroid = (magnitude @ bins)[..., None] / norm
    spread = ((bins - centroid).square_().mul_(magnitude)).sum(-1, keepdim=True)
    return {
        "spectral_bandwidth": (spread / norm).sqrt() * step,
        "spectral_centroid": centroid * step,
        "spectral_rolloff": (reached < ROLLOFF * total).sum(-1, keepdim=True) * step,
    }


def contrast(magnitude: Tensor) -> Tensor:
    """Spectral contrast, float64 (clips, frames, bands); as `kernels.extremes_of`."""
    bands = contrast_bands().tolist()
    peaks, valleys = (
        torch.stack(
            [magnitude[..., a:b].topk(n, largest=largest, sorted=False).values.double().mean(-1) for a, b, n in bands],
            dim=-1,
        )
        for largest in (True, False)
    )
    return decibels(peaks) - decibels(valleys)


def decibels(power: Tensor) -> Tensor:
    """As `librosa.power_to_db` of each clip."""
    levels = 10 * power.clamp_min(FLOOR).log10()
    return levels.maximum(levels.amax((1, 2), keepdim=True) - DYNAMIC_RANGE)


def normalised(values: Tensor, norm: float = torch.inf) -> Tensor:
    """As `librosa.util.normalize` of the last axis."""
    length = torch.linalg.vector_norm(values.double(), norm, dim=-1, keepdim=True)
    return (values / torch.where(length < torch.finfo(values.dtype).tiny, 1.0, length)).to(values.dtype)


def tunings_of(spectrum: Tensor, rate: int) -> list[float]:
    """The deviation of each clip from 440 Hz as a fraction of a semitone; as `spectrum.Tuning`."""
    bins = Tuning(rate)
    below, row, above = (spectrum[..., bins.first + shift : bins.last + shift] for shift in (-1, 0, 1))
    peak = (row > PITCH_THRESHOLD * spectrum.amax(-1, keepdim=True)) & (row > below) & (row >= above)
    tunings = []
    for clip, positions in enumerate(peak):
        frame, bin_ = positions.nonzero(as_tuple=True)
        before, middle, after = (part[clip][frame, bin_] for part in (below, row, above))
        if not len(middle):
            tunings.append(0.0)
            continue
        curve, slope = after + before - 2 * middle, (after - before) / 2
        shift = torch.where(slope.abs() >= curve.abs(), 0.0, -slope / curve)
        height = middle + 0.5 * slope * shift
        ordered = height.sort().values
        median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        pitch = ((bins.first + bin_ + shift.double()) * bins.step).float()[height >= median]
        tunings.append(tuning_of(pitch))
    return tunings


def tuning_of(pitch: Tensor) -> float:
    """As `librosa.pitch_tuning` of float32 frequencies, also in its rounding, since two steps of the histogram may be close."""
    residual = (12 * (pitch / 27.5).log2()).remainder(1.0)
    residual = torch.where(residual >= 0.5, residual - 1, residual)
    edges = np.linspace(-0.5, 0.5, STEPS_PER_SEMITONE + 1)
    position = torch.bucketize(residual.double(), on(pitch, edges), right=True) - 1
    counts = position.bincount(minlength=STEPS_PER_SEMITONE).cpu().numpy()
    return float(edges[counts.argmax()])


def constant_q(audio: Tensor, rate: int, tunings: list[float]) -> Tensor:
    """|CQT| of clips, float32 (clips, frames, 84); as `constant_q.constant_q`."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)  # the tuning can change how the octaves are computed
    for clip, tuning in enumerate(tunings):
        early, filters = plan(rate, tuning)
        groups[early, len(filters)].append(clip)
    result = audio.new_empty((len(audio), 1 + audio.shape[1] // HOP, OCTAVES * PER_OCTAVE))
    for (early, size), clips in groups.items():
        products = each_clip(lambda tuning: plan(rate, tuning)[1], [tunings[clip] for clip in clips], audio)
        signal = audio[clips]
        if early:
            signal = reduced(signal, 2**early)
        for octave in reversed(range(OCTAVES)):
            hop = HOP >> (early + OCTAVES - 1 - octave)
            frames = pad(signal[:, None], (size // 2, size // 2), mode="reflect")[:, 0].unfold(1, size, hop)
            real, imaginary = (frames[:, : result.shape[1]] @ products).split(PER_OCTAVE, dim=-1)
            result[clips, :, octave * PER_OCTAVE : (octave + 1) * PER_OCTAVE] = torch.hypot(real, imaginary)
            if octave:
                signal = reduced(signal, 2)
    return result


def reduced(signal: Tensor, factor: int) -> Tensor:
    """A signal (clips, samples) at a lower rate; as `constant_q.Halver`.

    In blocks, since rounding errors of one transform of all samples would fill silent parts.
    """
    half, length = TAPS_PER_STEP * factor // 2, -(-signal.shape[1] // factor)
    size, step = 16 * half, 14 * half
    blocks = -(-length * factor // step)
    padded = pad(signal, (half, blocks * step + half - signal.shape[1])).unfold(1, size, step)
    spectra = torch.fft.rfft(padded)[..., : size // factor // 2 + 1] * on(signal, response(factor, size))
    inner = torch.fft.irfft(spectra, size // factor)[..., half // factor : (half + step) // factor]
    return inner.flatten(1)[:, :length]


@lru_cache(maxsize=4)
def response(factor: int, size: int) -> np.ndarray:
    """The frequency response of the resampler of `fast` up to the new Nyquist frequency, float32; above, it is 0."""
    half = TAPS_PER_STEP * factor // 2
    impulses = np.zeros((2 * half, factor))
    impulses[half + np.arange(factor), np.arange(factor)] = 1
    outputs = soxr.resample(impulses, factor, 1, quality="soxr_hq")
    taps = np.zeros(size)
    for k in range(factor):  # output n of an impulse at sample half + k is tap factor * n - half - k
        taps[factor * np.arange(len(outputs)) - half - k] = outputs[:, k]
    # the scale of `librosa.resample`, and that of an inverse transform which is shorter by the factor
    return (np.fft.rfft(taps).real[: size // factor // 2 + 1] / np.sqrt(factor)).astype(np.float32)


def constant_q_series(cqt: Tensor) -> dict[str, Tensor]:
    """As `fast.constant_q_series`, of |CQT| (clips, frames, 84)."""
    chroma = cqt.unflatten(-1, (OCTAVES, PER_OCTAVE)).sum(-2)
    shares = normalised(chroma, 1)
    quantised = torch.stack([shares > step for step in CENS_STEPS]).float().mean(0)
    window = librosa.filters.get_window("hann", CENS_SMOOTHING + 2, fftbins=False)
    kernel = on(cqt, (window / window.sum()).astype(np.float32))[None, None]
    columns = quantised.transpose(1, 2).flatten(0, 1)[:, None]
    smooth = conv1d(columns, kernel, padding=len(window) // 2)
    cens = normalised(smooth[:, 0].unflatten(0, (len(cqt), PER_OCTAVE)).transpose(1, 2), 2)
    circles = librosa.feature.tonnetz(chroma=np.eye(PER_OCTAVE))  # the projection itself
    return {
        "chroma_cens": cens,
        "chroma_cqt": normalised(chroma),
        "tonnetz": normalised(cens, 1).double() @ on(cqt, circles.T),
    }


def summarise(values: Tensor) -> Tensor:
    """As `statistics.summarise`: float64 (clips, 7, size) of (clips, size, frames)."""
    exact = values.double()
    mean = exact.mean(-1, keepdim=True)
    exact = exact - mean
    squares = exact.square()
    variance = squares.mean(-1)
    relative = CONSTANT["d" if values.dtype == torch.float64 else "f"]
    constant = variance <= (relative * mean[..., 0]).square()
    scale = torch.where(constant, 1.0, variance)
    ordered, frames = values.sort(-1).values, values.shape[-1]
    by_name = {
        "kurtosis": torch.where(constant, -3.0, squares.square().mean(-1) / scale**2 - 3),
        "max": ordered[..., -1],
        "mean": mean[..., 0],
        "median": (ordered[..., (frames - 1) // 2] + ordered[..., frames // 2]) / 2,
        "min": ordered[..., 0],
        "skew": torch.where(constant, 0.0, (squares * exact).mean(-1) / scale**1.5),
        "std": variance.sqrt(),
    }
    return torch.stack([by_name[name].double() for name in STATISTICS], dim=1)


def on(like: Tensor, constant: np.ndarray) -> Tensor:
    """A constant on the device of a tensor."""
    return torch.from_numpy(np.ascontiguousarray(constant)).to(like.device)


def each_clip(filters: Callable[[float], np.ndarray], tunings: list[float], like: Tensor) -> Tensor:
    """Filters (n, m) that depend on the tuning as (clips, n, m)."""
    return on(like, np.stack([filters(tuning) for tuning in tunings]))
