"""Watches the machine while a model is fitted, from a thread of its own: a step waits for nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from musicreclass.hardware.machine import ROOT
from musicreclass.hardware.sensors import GpuSensors, HostSensors, Readings, brief, loaded_torch, open_nvml

PATIENCE = 5.0  # seconds


class Monitor:
    """Reads all sensors again and again while it is entered.

    It works for every model alike: a network's trainer and an estimator's fit know nothing of it.

    Args:
        interval: seconds between two looks; None for none at all.
        folder: on the disk that is watched.
        gpu: which GPU is watched, as torch counts them; None for none.
        nvml: as `open_nvml` takes it.
        root: holds proc/ and sys/.
    """

    def __init__(
        self, interval: float | None, folder: Path = Path(), gpu: int | None = 0, nvml: Any = None, root: Path = ROOT
    ) -> None:
        self.interval = interval
        self.sources: list[GpuSensors | HostSensors] = []
        self.latest: Readings = {}
        self._sums: dict[str, list[float]] = {}  # count, sum, largest, of the whole
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
            self._thread.join(PATIENCE)  # a driver that hangs must not keep the run from ending

    def _run(self) -> None:
        assert self.interval is not None
        wait = min(self.interval, 0.5)  # the first look comes soon, so that a short fit has one, too
        while not self._stop.wait(wait):
            self.look()
            wait = self.interval

    def look(self) -> None:
        """Read all sensors once."""
        found: Readings = {}
        for source in self.sources:
            found |= source.read()
        with self._lock:
            self.latest = found
            for name, value in found.items():
                count, total, most = self._sums.get(name, [0, 0.0, value])
                self._sums[name] = [count + 1, total + value, max(most, value)]
                count, total = self._recent.get(name, [0, 0.0])
                self._recent[name] = [count + 1, total + value]

    def epoch(self) -> dict[str, float]:
        """Means since this was last asked, named `hardware/...`, for curves."""
        with self._lock:
            recent, self._recent = self._recent, {}
        return {f"hardware/{name}": total / count for name, (count, total) in recent.items()}

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean and maximum of each reading, for provenance."""
        with self._lock:
            return {
                name: {"mean": round(total / count, 1), "max": round(most, 1)}
                for name, (count, total, most) in self._sums.items()
            }

    def status(self) -> str:
        """The latest readings in a few words."""
        return brief(self.latest)
