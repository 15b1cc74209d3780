"""Cuts a signal that arrives in blocks into centred frames."""

from __future__ import annotations

import numpy as np


class Framer:
    """Centred frames of a signal, padded by reflection at both ends, as `librosa.stft(pad_mode="reflect")` cuts them.

    Args:
        size: samples per frame.
        hop: samples between frames.
    """

    def __init__(self, size: int, hop: int) -> None:
        self.size, self.hop, self.pad = size, hop, size // 2
        self.samples = 0  # received
        self.frames = 0  # cut
        self.buffer = np.empty(0, np.float32)  # from the start of the next frame
        self.skip = 0  # samples to drop before the next frame, where hop > size
        self.tail = np.empty(0, np.float32)  # the last samples, to reflect at the end

    def push(self, block: np.ndarray) -> np.ndarray:
        """The frames that are complete after this block, float32 (frames, size); a view."""
        started = self.samples > self.pad
        self.samples += len(block)
        self.tail = (
            np.concatenate([self.tail, block])[-self.pad - 1 :] if len(block) <= self.pad else block[-self.pad - 1 :]
        )
        self.buffer = np.concatenate([self.buffer, block]) if len(self.buffer) else block
        if not started:
            if self.samples <= self.pad:
                return np.empty((0, self.size), np.float32)
            self.buffer = np.concatenate([self.buffer[self.pad : 0 : -1], self.buffer])
        return self._cut()

    def finish(self) -> np.ndarray:
        """The last frames, which the reflected end completes.

        Raises:
            ValueError: if the signal is not longer than half a frame.
        """
        if self.samples <= self.pad:
            raise ValueError(f"a signal of {self.samples} samples is too short for frames of {self.size}")
        self.buffer = np.concatenate([self.buffer, self.tail[-2 : -self.pad - 2 : -1]])
        return self._cut()

    def _cut(self) -> np.ndarray:
        if self.skip:
            dropped = min(self.skip, len(self.buffer))
            self.buffer, self.skip = self.buffer[dropped:], self.skip - dropped
        count = max(0, (len(self.buffer) - self.size) // self.hop + 1)
        frames = np.lib.stride_tricks.as_strided(
            self.buffer, (count, self.size), (self.hop * self.buffer.itemsize, self.buffer.itemsize), writeable=False
        )
        used = count * self.hop
        self.skip += max(0, used - len(self.buffer))
        self.buffer = self.buffer[used:]
        self.frames += count
        return frames
