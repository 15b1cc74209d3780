"""Valid values of the augmentation settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any


def is_number(value: Any, low: float = -math.inf, high: float = math.inf, whole: bool = False) -> bool:
    """Whether a value is a finite number within bounds."""
    kinds = int if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and low <= value <= high


def is_range(value: Any, low: float, high: float) -> bool:
    """Whether a value is None, or two numbers within bounds in ascending order."""
    if value is None:
        return True
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        return False
    return all(is_number(bound, low, high) for bound in value) and value[0] <= value[1]


def shown(value: Any) -> str:
    """A value in the syntax of an override."""
    return "null" if value is None else str(value).replace(" ", "")


Rule = tuple[str, Callable[[Any], bool]]
PROBABILITY: Rule = ("a probability, from 0 (never) to 1 (always)", lambda v: is_number(v, 0, 1))
COUNT: Rule = ("a whole number, at least 0", lambda v: is_number(v, 0, whole=True))
RULES: dict[str, Rule] = {
    "gain_db": ("[lowest, highest] in dB, within -120 and 120, or null for off", lambda v: is_range(v, -120, 120)),
    "gain_p": PROBABILITY,
    "polarity_p": PROBABILITY,
    "stretch_rate": ("[slowest, fastest], within 0.25 and 4, or null for off", lambda v: is_range(v, 0.25, 4)),
    "stretch_step": ("a number, from 0.01 to 4", lambda v: is_number(v, 0.01, 4)),
    "stretch_p": PROBABILITY,
    "pitch_semitones": ("[lowest, highest], within -24 and 24, or null for off", lambda v: is_range(v, -24, 24)),
    "pitch_step": ("a number of semitones, 0.5 or a multiple of it", lambda v: is_number(v, 0.5, 48) and v % 0.5 == 0),
    "pitch_p": PROBABILITY,
    "noise_snr": ("[lowest, highest] in dB, within -60 and 120, or null for off", lambda v: is_range(v, -60, 120)),
    "noise_snr_p": PROBABILITY,
    "noise_amplitude": ("a number, from 0 (off) to 1 (full scale)", lambda v: is_number(v, 0, 1)),
    "noise_amplitude_p": PROBABILITY,
    "time_masks": COUNT,
    "time_mask_frames": COUNT,
    "freq_masks": COUNT,
    "freq_mask_bands": COUNT,
    "mixup_alpha": ("a number, from 0 (off) to 100", lambda v: is_number(v, 0, 100)),
}
