"""What a machine has, and how much of it this process may use.

Each value is read on its own from a root folder that contains proc/ and sys/, so a missing file affects no other value.
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

from musicreclass.plurals import agreeing, counted

ROOT = Path("/")
UNLIMITED = 1 << 60  # version 1 of control groups writes a number above this for no limit


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch can use.

    Attributes:
        name: from the driver.
        capability: the CUDA compute capability, as (8, 6).
        memory: in bytes.
        integrated: whether it shares the processor's memory.
    """

    name: str
    capability: tuple[int, int] = (0, 0)
    memory: int = 0
    integrated: bool = False

    @property
    def has_bf16(self) -> bool:
        """Whether it supports bfloat16 natively."""
        return self.capability >= (8, 0)


@dataclass(frozen=True)
class Machine:
    """A machine, as this process may use it.

    Attributes:
        cores: processors that this process may use.
        cores_why: what limits them.
        memory: bytes of RAM available now.
        shared_memory: bytes free in /dev/shm; None if it does not exist.
        jetson: the model of a Jetson, or None.
        gpus: the CUDA GPUs.
        mps: whether there is an Apple GPU.
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
        """`jetson`, `rtx` (a consumer or workstation GPU), `datacenter` (any other CUDA GPU), `mps` or `cpu`."""
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
    def detect(cls, root: Path = ROOT) -> Machine:
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


def read_text(path: Path) -> str:
    """A file's content; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_int(path: Path) -> int | None:
    """The integer that a file begins with, or None."""
    try:
        return int(read_text(path).split()[0])
    except (ValueError, IndexError):
        return None


def control_groups(root: Path, controller: str) -> list[Path]:
    """The folders of this process's control groups, version 1 or 2, and of their parents."""
    folders: list[Path] = []
    top = root / "sys" / "fs" / "cgroup"
    for line in read_text(root / "proc" / "self" / "cgroup").splitlines():
        version, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if version == "0" and not controllers:
            mounts = [top, top / "unified"]
        elif controller in controllers.split(","):
            mounts = list(dict.fromkeys([top / controller, top / controllers]))
        else:
            continue
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        folders += [mount.joinpath(*parts[:k]) for mount in mounts for k in range(len(parts), -1, -1)]
    return folders


def cores(root: Path = ROOT) -> tuple[int, str]:
    """How many processors this process may use, and what limits them."""
    allowed = len(os.sched_getaffinity(0))
    quotas = [quota for folder in control_groups(root, "cpu") if (quota := cpu_quota(folder)) is not None]
    if quotas and math.ceil(min(quotas)) < allowed:
        return max(
            1, math.ceil(min(quotas))
        ), f"the control group allows {min(quotas):g} of {counted(allowed, 'processor')}"
    return (
        allowed,
        f"{allowed} of {counted(os.cpu_count() or allowed, 'processor')} {agreeing(allowed, 'is', 'are')} available",
    )


def cpu_quota(folder: Path) -> float | None:
    """How many processors' time a control group may use; None for no limit."""
    quota: int | None
    fields = read_text(folder / "cpu.max").split()
    try:
        if fields:
            return int(fields[0]) / int(fields[1])
        quota, period = read_int(folder / "cpu.cfs_quota_us"), read_int(folder / "cpu.cfs_period_us")
        return quota / period if quota and quota > 0 and period else None
    except (ValueError, IndexError, ZeroDivisionError):
        return None


def available_memory(root: Path = ROOT) -> int:
    """Bytes of RAM that this process can allocate without swapping, limits of its control groups included."""
    info = memory_info(root)
    free = info.get("MemAvailable", info.get("MemFree", 0))
    limits = [rest for folder in control_groups(root, "memory") if (rest := unused_limit(folder)) is not None]
    return max(0, min([free, *limits] if free else limits, default=0))


def memory_info(root: Path = ROOT) -> dict[str, int]:
    """The content of /proc/meminfo, in bytes."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB", read_text(root / "proc" / "meminfo"), re.MULTILINE)
    return {name: 1024 * int(value) for name, value in lines}


def unused_limit(folder: Path) -> int | None:
    """Bytes that a control group may still allocate, with reclaimable page cache; None if it has no limit."""
    for limit_name, used_name, cache_name in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = read_int(folder / limit_name), read_int(folder / used_name)
        if limit is not None and limit < UNLIMITED and used is not None:
            reclaimable = re.search(rf"^{cache_name} (\d+)", read_text(folder / "memory.stat"), re.MULTILINE)
            return limit - used + (int(reclaimable[1]) if reclaimable else 0)
    return None


def free_space(folder: Path) -> int | None:
    """Bytes free on the disk of a folder, or None."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def jetson_model(root: Path = ROOT) -> str | None:
    """The model of a Jetson from its device tree; None on any other machine."""
    tree = root / "proc" / "device-tree"
    model, compatible = (read_text(tree / name).replace("\0", " ").strip() for name in ("model", "compatible"))
    if "jetson" in model.lower() or "nvidia,tegra" in compatible.lower():
        return model or "Jetson"
    return "Jetson" if (root / "etc" / "nv_tegra_release").exists() else None


def cuda_gpus(cuda: Any) -> tuple[Gpu, ...]:
    """The GPUs of `torch.cuda`; a GPU whose query fails is left out."""
    gpus = []
    try:
        count = cuda.device_count() if cuda.is_available() else 0
    except Exception:  # drivers raise errors of many types
        return ()
    for index in range(count):
        try:
            gpu = cuda.get_device_properties(index)
            integrated = bool(getattr(gpu, "is_integrated", False))
            gpus.append(Gpu(str(gpu.name), (int(gpu.major), int(gpu.minor)), int(gpu.total_memory), integrated))
        except Exception:
            continue
    return tuple(gpus)


def compiler(names: Iterable[str] = ("g++", "clang++", "c++")) -> str | None:
    """The C++ compiler of the variable CXX, or the first on the path."""
    return next((path for name in (os.environ.get("CXX"), *names) if name and (path := shutil.which(name))), None)
