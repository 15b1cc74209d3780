"""What a machine has, and how much of it this process may use.

Each thing is read for itself from a root folder that holds proc/ and sys/, so that one that is missing hides no other.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path("/")
UNLIMITED = 1 << 60  # what version 1 of control groups says where it limits nothing


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch can use.

    Attributes:
        name: as its driver says it.
        capability: of CUDA, as (8, 6).
        memory: in bytes.
        integrated: whether it shares the memory of the processor.
    """

    name: str
    capability: tuple[int, int] = (0, 0)
    memory: int = 0
    integrated: bool = False

    @property
    def has_bf16(self) -> bool:
        """Whether it computes in bfloat16, rather than emulating it."""
        return self.capability >= (8, 0)


@dataclass(frozen=True)
class Machine:
    """What was found.

    Attributes:
        cores: processors that this process may use.
        cores_why: what limits them.
        memory: bytes of RAM that are to be had now.
        shared_memory: bytes that are free in /dev/shm; None if there is none.
        jetson: the model of a Jetson, or None.
        gpus: those of CUDA.
        mps: whether there is one of Apple's.
        compiler: the C++ compiler that torch.compile would use, or None.
        triton: whether torch can compile for a GPU.
    """

    cores: int
    cores_why: str
    memory: int
    shared_memory: int | None = None
    jetson: str | None = None
    gpus: tuple[Gpu, ...] = ()
    mps: bool = False
    compiler: str | None = None
    triton: bool = False

    @property
    def kind(self) -> str:
        """`jetson`, `rtx` (a GPU for desks), `datacenter` (any other of CUDA), `mps` or `cpu`."""
        if self.gpus:
            if self.jetson:
                return "jetson"
            return "rtx" if re.search(r"RTX|GTX|GeForce|TITAN", self.gpus[0].name, re.IGNORECASE) else "datacenter"
        return "mps" if self.mps else "cpu"

    @property
    def unified(self) -> bool:
        """Whether GPU and processor share one memory."""
        return bool(self.gpus) and (self.jetson is not None or self.gpus[0].integrated)

    @classmethod
    def here(cls, root: Path = ROOT) -> Machine:
        """This machine."""
        import importlib.util

        import torch

        count, why = cores(root)
        return cls(
            cores=count,
            cores_why=why,
            memory=available_memory(root),
            shared_memory=free_space(root / "dev" / "shm"),
            jetson=jetson_model(root),
            gpus=cuda_gpus(torch.cuda),
            mps=torch.backends.mps.is_available(),
            compiler=compiler(),
            triton=importlib.util.find_spec("triton") is not None,
        )


def text(path: Path) -> str:
    """What a file holds; nothing if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """The whole number that a file begins with, or None."""
    try:
        return int(text(path).split()[0])
    except (ValueError, IndexError):
        return None


def control_groups(root: Path, controller: str) -> list[Path]:
    """The folders of this process's control groups, version 1 or 2, and of those that they are part of."""
    found: list[Path] = []
    top = root / "sys" / "fs" / "cgroup"
    for line in text(root / "proc" / "self" / "cgroup").splitlines():
        version, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if version == "0" and not controllers:
            mounts = [top, top / "unified"]
        elif controller in controllers.split(","):
            mounts = list(dict.fromkeys([top / controller, top / controllers]))
        else:
            continue
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        found += [mount.joinpath(*parts[:k]) for mount in mounts for k in range(len(parts), -1, -1)]
    return found


def cores(root: Path = ROOT) -> tuple[int, str]:
    """The processors that this process may use, and what says so."""
    allowed = len(os.sched_getaffinity(0))
    quotas = [quota for folder in control_groups(root, "cpu") if (quota := cpu_quota(folder)) is not None]
    if quotas and math.ceil(min(quotas)) < allowed:
        return max(1, math.ceil(min(quotas))), f"its control group grants {min(quotas):g} of {allowed} processors"
    return allowed, f"it may use {allowed} of {os.cpu_count()} processors"


def cpu_quota(folder: Path) -> float | None:
    """How many processors' time a control group may take; None for any."""
    quota: int | None
    words = text(folder / "cpu.max").split()
    try:
        if words:
            return int(words[0]) / int(words[1])
        quota, period = number(folder / "cpu.cfs_quota_us"), number(folder / "cpu.cfs_period_us")
        return quota / period if quota and quota > 0 and period else None
    except (ValueError, IndexError, ZeroDivisionError):
        return None


def available_memory(root: Path = ROOT) -> int:
    """Bytes of RAM that this process can still get without others being swapped out, its control groups' limits included."""
    told = memory_info(root)
    found = told.get("MemAvailable", told.get("MemFree", 0))
    rooms = [room for folder in control_groups(root, "memory") if (room := memory_room(folder)) is not None]
    return max(0, min([found, *rooms] if found else rooms, default=0))


def memory_info(root: Path = ROOT) -> dict[str, int]:
    """What /proc/meminfo says, in bytes."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB", text(root / "proc" / "meminfo"), re.MULTILINE)
    return {name: 1024 * int(value) for name, value in lines}


def memory_room(folder: Path) -> int | None:
    """Bytes that a control group may still take, files in memory that can go not counted; None if it has no limit."""
    for limit_name, used_name, files in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = number(folder / limit_name), number(folder / used_name)
        if limit is not None and limit < UNLIMITED and used is not None:
            reclaimable = re.search(rf"^{files} (\d+)", text(folder / "memory.stat"), re.MULTILINE)
            return limit - used + (int(reclaimable[1]) if reclaimable else 0)
    return None


def free_space(folder: Path) -> int | None:
    """Bytes that are free where a folder lies, or None."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def jetson_model(root: Path = ROOT) -> str | None:
    """The model of a Jetson as its device tree tells it, or None."""
    tree = root / "proc" / "device-tree"
    model, compatible = (text(tree / name).replace("\0", " ").strip() for name in ("model", "compatible"))
    if "jetson" in model.lower() or "nvidia,tegra" in compatible.lower():
        return model or "Jetson"
    return "Jetson" if (root / "etc" / "nv_tegra_release").exists() else None


def cuda_gpus(cuda: Any) -> tuple[Gpu, ...]:
    """The GPUs of `torch.cuda`; one that cannot be asked is left out."""
    found = []
    try:
        count = cuda.device_count() if cuda.is_available() else 0
    except Exception:  # drivers fail in ways of their own
        return ()
    for index in range(count):
        try:
            told = cuda.get_device_properties(index)
            integrated = bool(getattr(told, "is_integrated", False))
            found.append(Gpu(str(told.name), (int(told.major), int(told.minor)), int(told.total_memory), integrated))
        except Exception:
            continue
    return tuple(found)


def compiler(names: Iterable[str] = ("g++", "clang++", "c++")) -> str | None:
    """The C++ compiler on the path, or the one that CXX names."""
    return next((found for name in (os.environ.get("CXX"), *names) if name and (found := shutil.which(name))), None)
