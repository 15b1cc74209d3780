"""Short recordings as bytes that browsers play."""

from __future__ import annotations

import io

import numpy as np
import soundfile


def encode_clip(samples: np.ndarray, sample_rate: int) -> tuple[str, bytes]:
    """Encode mono samples as MP3; as WAV, if this libsndfile or the sample rate does not allow MP3.

    Args:
        samples: int16 (n,).
        sample_rate: in Hz.

    Returns:
        the media type, and the content of the file.
    """
    for media_type, options in (
        ("audio/mpeg", {"format": "MP3"}),
        ("audio/wav", {"format": "WAV", "subtype": "PCM_16"}),
    ):
        buffer = io.BytesIO()
        try:
            soundfile.write(buffer, samples, sample_rate, **options)
        except (soundfile.LibsndfileError, ValueError):
            continue
        return media_type, buffer.getvalue()
    raise ValueError(f"samples at {sample_rate} Hz cannot be encoded")
