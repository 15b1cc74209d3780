"""Reads the machine's sensors in a thread while a model is fitted, so that no training step waits."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from musicreclass.hardware.machine import ROOT
from musicreclass.hardware.sensors import GpuSensors, HostSensors, Readings, brief, loaded_torch, open_nvml

JOIN_TIMEOUT = 5.0  # seconds


class Monitor:
    """A context manager that reads all sensors at an interval, for any kind of model.

    Args:
        interval: seconds between two readings; None disables the monitor.
        folder: on the disk to watch.
        gpu: which GPU to watch, as torch counts them; None for none.
        nvml: as for `open_nvml`.
        root: contains proc/ and sys/.
    """

    def __init__(
        self, interval: float | None, folder: Path = Path(), gpu: int | None = 0, nvml: Any = None, root: Path = ROOT
    ) -> None:
        self.interval = interval
        self.sources: list[GpuSensors | HostSensors] = []
        self.latest: Readings = {}
        self._sums: dict[str, list[float]] = {}  # count, sum, maximum, since the start
        self._recent: dict[str, list[float]] = {}  # count, sum, since the last epoch
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if interval is not None:
            self.sources.append(HostSensors(folder, root))
            if gpu is not None:
                self.sources.append(GpuSensors(gpu, open_nvml(nvml), loaded_torch(), root))

    def __enter__(self) -> Monitor:
        if self.interval is not None:
            self._thread = threading.Thread(target=self._run, name="monitor", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT)  # a driver that hangs must not block the run

    def _run(self) -> None:
        assert self.interval is not None
        wait = min(self.interval, 0.5)  # the first reading comes early, so that a short fit has one
        while not self._stop.wait(wait):
            self.read()
            wait = self.interval

    def read(self) -> None:
        """Read all sensors once."""
        readings: Readings = {}
        for source in self.sources:
            readings |= source.read()
        with self._lock:
            self.latest = readings
            for name, value in readings.items():
                count, total, maximum = self._sums.get(name, [0, 0.0, value])
                self._sums[name] = [count + 1, total + value, max(maximum, value)]
                count, total = self._recent.get(name, [0, 0.0])
                self._recent[name] = [count + 1, total + value]

    def epoch(self) -> dict[str, float]:
        """Means since the last call, named `hardware/...`, for curves."""
        with self._lock:
            recent, self._recent = self._recent, {}
        return {f"hardware/{name}": total / count for name, (count, total) in recent.items()}

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean and maximum of each reading, for provenance."""
        with self._lock:
            return {
                name: {"mean": round(total / count, 1), "max": round(maximum, 1)}
                for name, (count, total, maximum) in self._sums.items()
            }

    def status(self) -> str:
        """The latest readings on one line."""
        return brief(self.latest)
