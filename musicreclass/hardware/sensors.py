"""What a machine is doing now: load, memory, temperature and power. A query that fails or returns nonsense leaves its reading out.

A driver may start, count its devices, and then return NotSupported or zeros for most queries, as on a Jetson. Where NVML gives
no value, torch, /proc and /sys are read.
"""

from __future__ import annotations

import importlib
import math
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musicreclass.hardware.machine import ROOT, jetson_model, memory_info, read_int, read_text

MIB = 2**20
Readings = dict[str, float]


def measure(query: Callable[[], Any], above: float = -math.inf, scale: float = 1.0) -> float | None:
    """A query's result times a scale; None if the query fails, or the result is not a finite number above a bound."""
    try:
        value = float(query()) * scale
    except Exception:  # drivers raise errors of many types
        return None
    return value if math.isfinite(value) and value > above else None


def first(*queries: Callable[[], float | None]) -> float | None:
    """The first result that is not None."""
    return next((value for query in queries if (value := query()) is not None), None)


def open_nvml(module: Any = None) -> Any:
    """NVIDIA's management library, initialised; None if it is missing or does not work.

    Args:
        module: a replacement; by default `pynvml`, which the package nvidia-ml-py provides.
    """
    try:
        nvml = importlib.import_module("pynvml") if module is None else module
        nvml.nvmlInit()
    except Exception:
        return None
    return nvml


def gpu_count(nvml: Any) -> int:
    """How many GPUs NVML counts."""
    count = measure(lambda: nvml.nvmlDeviceGetCount()) if nvml is not None else None
    return int(count) if count else 0


class GpuSensors:
    """The sensors of one GPU.

    Args:
        index: as torch counts the GPUs that this process may see, or as the driver counts them without torch.
        nvml: as returned by `open_nvml`.
        torch: the module, if this process computes with it; then its allocator is read too.
        root: contains proc/ and sys/.
    """

    def __init__(self, index: int = 0, nvml: Any = None, torch: Any = None, root: Path = ROOT) -> None:
        self.index, self.nvml, self.root = index, nvml, root
        self.cuda: Any = torch.cuda if torch is not None and measure(torch.cuda.is_available, 0) else None
        self.is_jetson = jetson_model(root) is not None
        self.handle = self._handle()

    def _handle(self) -> Any:
        """NVML's handle, by UUID where torch runs, since torch may see only some of the GPUs."""
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
        """The GPU's name, from the driver if possible."""
        try:
            name = self.nvml.nvmlDeviceGetName(self.handle)
            return name.decode() if isinstance(name, bytes) else str(name)
        except Exception:
            return jetson_model(self.root) or f"GPU {self.index}"

    def read(self) -> Readings:
        """The available ones of `gpu_memory_used_mib`, `gpu_memory_total_mib`, `gpu_allocated_mib`, `gpu_reserved_mib` (of
        torch's allocator in this process), `gpu_percent`, `gpu_celsius`, `gpu_watts`."""
        nvml, handle, cuda = self.nvml, self.handle, self.cuda
        total = first(
            lambda: measure(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total, 0, 1 / MIB),
            lambda: measure(lambda: cuda.mem_get_info(self.index)[1], 0, 1 / MIB),
            lambda: measure(lambda: memory_info(self.root)["MemTotal"], 0, 1 / MIB) if self.is_jetson else None,
        )
        used = first(
            lambda: None if self.is_jetson else measure(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used, 0, 1 / MIB),
            lambda: measure(lambda: used_memory(self.root), 0, 1 / MIB) if self.is_jetson else None,
            lambda: measure(lambda: cuda.mem_get_info(self.index)[1] - cuda.mem_get_info(self.index)[0], 0, 1 / MIB),
        )
        readings = {
            "gpu_memory_used_mib": used,
            "gpu_memory_total_mib": total,
            "gpu_allocated_mib": measure(lambda: cuda.memory_allocated(self.index), -1, 1 / MIB),
            "gpu_reserved_mib": measure(lambda: cuda.memory_reserved(self.index), -1, 1 / MIB),
            "gpu_percent": first(
                self._jetson_load,
                lambda: measure(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu, -1),
            ),
            "gpu_celsius": first(
                lambda: measure(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU), 0),
                self._jetson_temperature,
            ),
            "gpu_watts": first(
                lambda: measure(lambda: nvml.nvmlDeviceGetPowerUsage(handle), 0, 1 / 1000),
                self._jetson_power,
            ),
        }
        return {name: value for name, value in readings.items() if value is not None}

    def _jetson_load(self) -> float | None:
        """In percent; the file has thousandths."""
        if not self.is_jetson:
            return None
        files = (
            "sys/devices/gpu.0/load",
            "sys/devices/platform/gpu.0/load",
            "sys/devices/platform/bus@0/17000000.gpu/load",
        )
        return first(*(scaled(self.root / file, 0.1, above=-1) for file in files))

    def _jetson_temperature(self) -> float | None:
        """In degrees; the file has thousandths."""
        zones = sorted((self.root / "sys" / "class" / "thermal").glob("thermal_zone*"))
        gpu_zones = [zone for zone in zones if read_text(zone / "type").strip().lower() in ("gpu-thermal", "gpu-therm")]
        return first(*(scaled(zone / "temp", 1e-3) for zone in gpu_zones))

    def _jetson_power(self) -> float | None:
        """In watts, of the whole board: millivolts times milliamperes at its input."""
        for chip in sorted((self.root / "sys" / "class" / "hwmon").glob("hwmon*")):
            if read_text(chip / "name").strip() == "ina3221":
                volts, amperes = scaled(chip / "in1_input", 1e-3)(), scaled(chip / "curr1_input", 1e-3)()
                if volts is not None and amperes is not None:
                    return volts * amperes
        return None


def scaled(file: Path, scale: float, above: float = 0) -> Callable[[], float | None]:
    """A query for the number in a file times a scale."""
    return lambda: measure(lambda: read_int(file), above, scale)


def used_memory(root: Path) -> int:
    """Bytes of RAM in use."""
    info = memory_info(root)
    return info["MemTotal"] - info["MemAvailable"]


class HostSensors:
    """The sensors of processor, memory and disk.

    Args:
        folder: on the disk to watch.
        root: contains proc/.
    """

    def __init__(self, folder: Path = Path(), root: Path = ROOT) -> None:
        self.folder, self.root = folder, root
        self.last_ticks = self._ticks()

    def _ticks(self) -> tuple[float, float]:
        """Clock ticks that all processors together were busy, and ticks in total."""
        try:
            ticks = [float(field) for field in read_text(self.root / "proc" / "stat").splitlines()[0].split()[1:9]]
            return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
        except (ValueError, IndexError):
            return 0.0, 0.0

    def read(self) -> Readings:
        """The available ones of `cpu_percent` since the last call, `ram_used_mib`, `ram_total_mib`, `process_mib`,
        `disk_free_mib`."""
        (last_busy, last_total), (busy, total) = self.last_ticks, self._ticks()
        self.last_ticks = busy, total
        pages = read_text(self.root / "proc" / "self" / "statm").split()
        readings = {
            "cpu_percent": measure(lambda: (busy - last_busy) / (total - last_total), -1, 100),
            "ram_used_mib": measure(lambda: used_memory(self.root), 0, 1 / MIB),
            "ram_total_mib": measure(lambda: memory_info(self.root)["MemTotal"], 0, 1 / MIB),
            "process_mib": measure(lambda: pages[1], 0, os.sysconf("SC_PAGE_SIZE") / MIB),
            "disk_free_mib": measure(lambda: shutil.disk_usage(self.folder).free, -1, 1 / MIB),
        }
        return {name: value for name, value in readings.items() if value is not None}


def loaded_torch() -> Any:
    """torch if this process has imported it; monitoring alone does not import it."""
    return sys.modules.get("torch")


def brief(readings: Readings) -> str:
    """Readings on one line: `GPU 97 % 5.1/8.0 GiB 61 °C 14 W  CPU 30 %  RAM 6.0/7.4 GiB`."""

    def memory(used: str, total: str) -> str | None:
        if used not in readings:
            return None
        return f"{readings[used] / 1024:.1f}" + (f"/{readings[total] / 1024:.1f}" if total in readings else "") + " GiB"

    def value(name: str, unit: str) -> str | None:
        return f"{readings[name]:.0f} {unit}" if name in readings else None

    gpu = [
        value("gpu_percent", "%"),
        memory("gpu_memory_used_mib", "gpu_memory_total_mib"),
        value("gpu_celsius", "°C"),
        value("gpu_watts", "W"),
    ]
    parts = {"GPU": gpu, "CPU": [value("cpu_percent", "%")], "RAM": [memory("ram_used_mib", "ram_total_mib")]}
    return "  ".join(f"{name} {' '.join(filter(None, values))}" for name, values in parts.items() if any(values))
