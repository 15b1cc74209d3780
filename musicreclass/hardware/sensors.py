"""What a machine is doing right now. Each query stands for itself: one that fails, or answers what cannot be, leaves a gap.

A driver may start, count its devices, and then answer NotSupported or zeros for most of what it is asked (a Jetson's does).
Where NVML says nothing, torch, /proc and /sys are asked.
"""

from __future__ import annotations

import importlib
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musicreclass.hardware.machine import ROOT, jetson_model, memory_info, number, text

MIB = 2**20
PAGE = 4096
Readings = dict[str, float]


def asked(query: Callable[[], Any], least: float = -math.inf, times: float = 1.0) -> float | None:
    """A query's answer times a factor; None if it fails, is no number, or not above the least that can be."""
    try:
        found = float(query()) * times
    except Exception:  # drivers fail in ways of their own
        return None
    return found if math.isfinite(found) and found > least else None


def first(*queries: Callable[[], float | None]) -> float | None:
    """The first answer there is."""
    return next((found for query in queries if (found := query()) is not None), None)


def open_nvml(module: Any = None) -> Any:
    """NVIDIA's management library, ready to be asked, or None.

    Args:
        module: what to use as such; by default `pynvml`, which the package nvidia-ml-py provides.
    """
    try:
        found = importlib.import_module("pynvml") if module is None else module
        found.nvmlInit()
    except Exception:
        return None
    return found


def gpu_count(nvml: Any) -> int:
    """How many GPUs it knows."""
    found = asked(lambda: nvml.nvmlDeviceGetCount()) if nvml is not None else None
    return int(found) if found else 0


class GpuSensors:
    """Of one GPU.

    Args:
        index: which, as torch counts those that this process may see, or as the driver counts them where torch is not used.
        nvml: as `open_nvml` gives it.
        torch: the module, if this process computes with it; its allocator then is asked, too.
        root: holds proc/ and sys/.
    """

    def __init__(self, index: int = 0, nvml: Any = None, torch: Any = None, root: Path = ROOT) -> None:
        self.index, self.nvml, self.root = index, nvml, root
        self.cuda: Any = torch.cuda if torch is not None and asked(torch.cuda.is_available, 0) else None
        self.is_jetson = jetson_model(root) is not None
        self.handle = self._handle()

    def _handle(self) -> Any:
        """The driver's own handle; of the very GPU that torch uses, where it hides some of them."""
        for query in (
            lambda: self.nvml.nvmlDeviceGetHandleByUUID(f"GPU-{self.cuda.get_device_properties(self.index).uuid}"),
            lambda: self.nvml.nvmlDeviceGetHandleByIndex(self.index),
        ):
            try:
                return query()
            except Exception:
                continue
        return None

    def name(self) -> str:
        """As the driver says it."""
        try:
            found = self.nvml.nvmlDeviceGetName(self.handle)
            return found.decode() if isinstance(found, bytes) else str(found)
        except Exception:
            return jetson_model(self.root) or f"GPU {self.index}"

    def read(self) -> Readings:
        """What is known: `gpu_memory_used_mib`, `gpu_memory_total_mib`, `gpu_allocated_mib`, `gpu_reserved_mib` (of torch's
        allocator in this process), `gpu_percent`, `gpu_celsius`, `gpu_watts`."""
        nvml, handle, cuda = self.nvml, self.handle, self.cuda
        total = first(
            lambda: asked(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total, 0, 1 / MIB),
            lambda: asked(lambda: cuda.mem_get_info(self.index)[1], 0, 1 / MIB),
            lambda: asked(lambda: memory_info(self.root)["MemTotal"], 0, 1 / MIB) if self.is_jetson else None,
        )
        used = first(
            lambda: None if self.is_jetson else asked(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used, 0, 1 / MIB),
            lambda: asked(lambda: used_memory(self.root), 0, 1 / MIB) if self.is_jetson else None,
            lambda: asked(lambda: cuda.mem_get_info(self.index)[1] - cuda.mem_get_info(self.index)[0], 0, 1 / MIB),
        )
        found = {
            "gpu_memory_used_mib": used,
            "gpu_memory_total_mib": total,
            "gpu_allocated_mib": asked(lambda: cuda.memory_allocated(self.index), -1, 1 / MIB),
            "gpu_reserved_mib": asked(lambda: cuda.memory_reserved(self.index), -1, 1 / MIB),
            "gpu_percent": first(
                self._load,
                lambda: asked(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu, -1),
            ),
            "gpu_celsius": first(
                lambda: asked(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU), 0),
                self._temperature,
            ),
            "gpu_watts": first(
                lambda: asked(lambda: nvml.nvmlDeviceGetPowerUsage(handle), 0, 1 / 1000),
                self._power,
            ),
        }
        return {name: value for name, value in found.items() if value is not None}

    def _load(self) -> float | None:
        """A Jetson's: in thousandths."""
        if not self.is_jetson:
            return None
        places = (
            "sys/devices/gpu.0/load",
            "sys/devices/platform/gpu.0/load",
            "sys/devices/platform/bus@0/17000000.gpu/load",
        )
        return first(*(scaled(self.root / place, 0.1, least=-1) for place in places))

    def _temperature(self) -> float | None:
        """A Jetson's, in thousandths of a degree."""
        zones = sorted((self.root / "sys" / "class" / "thermal").glob("thermal_zone*"))
        mine = [zone for zone in zones if text(zone / "type").strip().lower() in ("gpu-thermal", "gpu-therm")]
        return first(*(scaled(zone / "temp", 1e-3) for zone in mine))

    def _power(self) -> float | None:
        """A Jetson's at its input: millivolts times milliamperes."""
        for chip in sorted((self.root / "sys" / "class" / "hwmon").glob("hwmon*")):
            if text(chip / "name").strip() == "ina3221":
                volts, amperes = scaled(chip / "in1_input", 1e-3)(), scaled(chip / "curr1_input", 1e-3)()
                if volts is not None and amperes is not None:
                    return volts * amperes
        return None


def scaled(file: Path, times: float, least: float = 0) -> Callable[[], float | None]:
    """What asks a file that holds a number for it, times a factor."""
    return lambda: asked(lambda: number(file), least, times)


def used_memory(root: Path) -> int:
    """Bytes of RAM that are in use."""
    told = memory_info(root)
    return told["MemTotal"] - told["MemAvailable"]


class HostSensors:
    """Of processor, memory and disk.

    Args:
        folder: on the disk that is watched.
        root: holds proc/.
    """

    def __init__(self, folder: Path = Path(), root: Path = ROOT) -> None:
        self.folder, self.root = folder, root
        self.before = self._times()

    def _times(self) -> tuple[float, float]:
        """Clock ticks that all processors have been at work, and ticks in all."""
        try:
            ticks = [float(word) for word in text(self.root / "proc" / "stat").splitlines()[0].split()[1:9]]
            return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
        except (ValueError, IndexError):
            return 0.0, 0.0

    def read(self) -> Readings:
        """What is known: `cpu_percent` since the last look, `ram_used_mib`, `ram_total_mib`, `process_mib`, `disk_free_mib`."""
        busy, ticks = self._times()
        was_busy, was = self.before
        self.before = busy, ticks
        found = {
            "cpu_percent": asked(lambda: (busy - was_busy) / (ticks - was), -1, 100),
            "ram_used_mib": asked(lambda: used_memory(self.root), 0, 1 / MIB),
            "ram_total_mib": asked(lambda: memory_info(self.root)["MemTotal"], 0, 1 / MIB),
            "process_mib": asked(lambda: text(self.root / "proc" / "self" / "statm").split()[1], 0, PAGE / MIB),
            "disk_free_mib": asked(lambda: shutil.disk_usage(self.folder).free, -1, 1 / MIB),
        }
        return {name: value for name, value in found.items() if value is not None}


def loaded_torch() -> Any:
    """torch, if this process has imported it: watching alone is no reason to."""
    return sys.modules.get("torch")


def brief(found: Readings) -> str:
    """Readings in a few words: `GPU 97 % 5.1/8.0 GiB 61 °C 14 W  CPU 30 %  RAM 6.0/7.4 GiB`."""

    def share(used: str, total: str) -> str | None:
        if used not in found:
            return None
        return f"{found[used] / 1024:.1f}" + (f"/{found[total] / 1024:.1f}" if total in found else "") + " GiB"

    def value(name: str, unit: str) -> str | None:
        return f"{found[name]:.0f} {unit}" if name in found else None

    gpu = [
        value("gpu_percent", "%"),
        share("gpu_memory_used_mib", "gpu_memory_total_mib"),
        value("gpu_celsius", "°C"),
        value("gpu_watts", "W"),
    ]
    parts = {"GPU": gpu, "CPU": [value("cpu_percent", "%")], "RAM": [share("ram_used_mib", "ram_total_mib")]}
    return "  ".join(f"{name} {' '.join(filter(None, words))}" for name, words in parts.items() if any(words))
