"""Resolves the settings of conf/hardware/ for a machine: every `auto` becomes a value with a reason."""

from __future__ import annotations

import json
from typing import Any

import torch

from musicreclass.config.settings.machine import HardwareSettings
from musicreclass.errors import ConfigError, Problem
from musicreclass.hardware.machine import Gpu, Machine
from musicreclass.hardware.profile import PREFETCH, Profile, gib
from musicreclass.plurals import counted

PREFETCH_UNIFIED = 2  # batches; less than `PREFETCH`, since the batches use the memory of the GPU
MARGIN, MARGIN_SHARED = 0.1, 0.25  # of the free memory; more if other programs use the same memory
EMPTY_CACHE_UNIFIED = 20  # batches
INTERVAL = 5.0  # seconds
CONVOLUTION_CAPABILITY, TF32_CAPABILITY, COMPILE_CAPABILITY = (7, 0), (8, 0), (7, 0)  # of CUDA


def resolve_profile(
    settings: HardwareSettings, precision: str | None = None, explicit: bool = False, machine: Machine | None = None
) -> Profile:
    """The hardware profile of a machine, without side effects; see `Profile.apply`.

    Args:
        settings: `hardware`.
        precision: `trainer.precision`; None takes `hardware.precision`.
        explicit: whether the user set the precision; a profile's own falls back to 32-true if the machine lacks it.
        machine: None for the machine of this process.

    Raises:
        ConfigError: if the user set something that the machine does not have.
    """
    return Resolution(settings, machine or Machine.detect()).profile(precision or settings.precision, explicit)


class Resolution:
    """Resolves settings for a machine; every `auto` becomes a value with a reason.

    Args:
        settings: of the profile.
        machine: what is available.
    """

    def __init__(self, settings: HardwareSettings, machine: Machine) -> None:
        self.settings, self.machine = settings, machine
        self.why: list[str] = []
        self.warnings: list[str] = []

    def profile(self, precision: str, explicit: bool) -> Profile:
        """The resolved profile.

        Args:
            precision: the requested one.
            explicit: whether the user, rather than the profile, requested it.
        """
        machine = self.machine
        accelerator = self._accelerator()
        gpu = machine.gpus[0] if accelerator == "cuda" else None
        unified = gpu is not None and machine.unified
        precision = self._precision(precision, explicit, accelerator, gpu)
        return Profile(
            accelerator=accelerator,
            devices=self._devices(accelerator),
            nodes=self.settings.nodes,
            strategy=self._strategy(),
            precision=precision,
            threads=self._choose("threads", *self._threads()),
            workers=self._choose("workers", machine.cores, machine.cores_why),
            prefetch=self._prefetch(unified),
            pin_memory=self._pin_memory(gpu, unified),
            channels_last=self._choose("channels_last", *channels_last(gpu, precision)),
            tf32=self._choose("tf32", *tf32(gpu, precision)),
            compile=self._compile(gpu),
            micro_batch=self._micro_batch(accelerator),
            memory_margin=self._memory_margin(shared=unified or gpu is None),
            gpu_share=self.settings.gpu_share,
            empty_cache_every=self._empty_cache_every(unified),
            monitor_interval=self._choose("monitor_interval", INTERVAL, "the default"),
            unified=unified,
            kind=machine.kind,
            why=tuple(self.why),
            warnings=tuple(self.warnings),
        )

    def _choose(self, name: str, automatic: Any, reason: str) -> Any:
        """The value of a setting, or the automatic one for `auto`; the reason is noted."""
        value = getattr(self.settings, name)
        if value == "auto":
            value = automatic
        else:
            reason = "set explicitly"
        self.why.append(f"{name}={json.dumps(value)}: {reason}")
        return value

    def _accelerator(self) -> str:
        """The accelerator that was set, or the best one available."""
        machine, requested = self.machine, self.settings.accelerator
        available = {"cuda": bool(machine.gpus), "mps": machine.mps, "cpu": True}
        available["gpu"] = available["cuda"] or available["mps"]
        if requested != "auto" and not available[requested]:
            line = f"hardware.accelerator={requested}: not available to torch {torch.__version__}; choose auto or cpu"
            raise unavailable(line, "hardware.accelerator", requested)
        accelerator = requested
        if requested in ("auto", "gpu"):
            accelerator = next(name for name in ("cuda", "mps", "cpu") if available[name])
        memory = f"{gib(machine.memory)} of memory are free"
        if machine.shared_memory is not None:
            memory += f", {gib(machine.shared_memory)} in /dev/shm"
        self.why.append(f"accelerator={accelerator}: {self._reason_for(accelerator)}; {memory}")
        if self.settings.kind and self.settings.kind != machine.kind:
            line = f"hardware={self.settings.kind}: this machine is of kind {machine.kind}; what it lacks is not used"
            self.warnings.append(line)
        return accelerator

    def _reason_for(self, accelerator: str) -> str:
        """Why this accelerator is used: the GPU, or that there is none."""
        if accelerator == "cuda":
            gpu, jetson = self.machine.gpus[0], self.machine.jetson
            capability = f"capability {gpu.capability[0]}.{gpu.capability[1]}"
            return ", ".join(filter(None, (gpu.name, capability, gib(gpu.memory), jetson)))
        if accelerator == "mps":
            return "an Apple GPU"
        return "set explicitly" if self.settings.accelerator == "cpu" else "torch has no usable GPU"

    def _devices(self, accelerator: str) -> int:
        """The requested number of devices."""
        requested, nodes = self.settings.devices, self.settings.nodes
        available = {"cuda": len(self.machine.gpus), "mps": 1}.get(accelerator, requested)
        if requested > available:
            line = (
                f"hardware.devices={requested}: this machine has {available}; hardware.nodes is the number of machines"
            )
            raise unavailable(line, "hardware.devices", requested)
        if requested * nodes > 1 and accelerator == "cpu" and self.settings.accelerator != "cpu":
            remedy = "set hardware.accelerator=cpu for several processes on the CPU"
            line = f"hardware.devices={requested}, hardware.nodes={nodes}: torch has no usable GPU; {remedy}"
            raise unavailable(line, "hardware.devices", requested)
        if requested * nodes > 1:
            self.why.append(f"devices={requested}, nodes={nodes}: each computes a shard of every batch")
        return requested

    def _strategy(self) -> str:
        """How several processes train one network; only Lightning's ddp is supported."""
        several = self.settings.devices * self.settings.nodes > 1
        if self.settings.strategy == "ddp" and not several:
            line = "hardware.strategy=ddp: requires several processes: hardware.devices=2"
            raise unavailable(line, "hardware.strategy", "ddp")
        return "ddp" if several else "single"

    def _threads(self) -> tuple[int, str]:
        """A share of the cores for each process on this machine."""
        cores, devices, why = self.machine.cores, self.settings.devices, self.machine.cores_why
        return (
            (cores, why)
            if devices == 1
            else (max(1, cores // devices), f"{why}, divided by {counted(devices, 'process')}")
        )

    def _precision(self, requested: str, explicit: bool, accelerator: str, gpu: Gpu | None) -> str:
        """The precision, or 32-true if the machine lacks the one that the profile requests."""
        problem = None
        if requested == "16-mixed" and gpu is None:
            problem = "requires a CUDA GPU; choose bf16-mixed or 32-true"
        elif requested == "bf16-mixed" and gpu is not None and not gpu.has_bf16:
            problem = f"{gpu.name} has no bfloat16; choose 16-mixed or 32-true"
        elif requested != "32-true" and accelerator == "mps":
            problem = "is not supported on Apple GPUs; choose 32-true"
        if problem and explicit:
            raise unavailable(f"trainer.precision={requested}: {problem}", "trainer.precision", requested)
        if problem:
            self.warnings.append(f"hardware.precision={requested}: {problem.partition(';')[0]}; the run uses 32-true")
            return "32-true"
        if requested != "32-true" and not explicit:
            self.why.append(f"trainer.precision={requested}: set by the profile; part of the run's signature")
        return requested

    def _prefetch(self, unified: bool) -> int:
        if unified:
            return int(self._choose("prefetch", PREFETCH_UNIFIED, "GPU and CPU share the memory"))
        return int(self._choose("prefetch", PREFETCH, "the default"))

    def _pin_memory(self, gpu: Gpu | None, unified: bool) -> bool:
        if gpu is None:
            if self.settings.pin_memory is True:
                line = "hardware.pin_memory=true: requires a CUDA GPU; choose auto or false"
                raise unavailable(line, "hardware.pin_memory", True)
            return bool(self._choose("pin_memory", False, "there is no CUDA GPU to copy to"))
        reason = "GPU and CPU share the memory" if unified else "copies run in the background"
        return bool(self._choose("pin_memory", not unified, reason))

    def _compile(self, gpu: Gpu | None) -> bool:
        """Whether to compile networks; `auto` warns if that is not possible."""
        problem = None
        if self.machine.compiler is None:
            problem = "there is no C++ compiler on the path"
        elif gpu is not None and not (self.machine.triton and gpu.capability >= COMPILE_CAPABILITY):
            problem = "requires Triton and a GPU of capability 7.0"
        if self.settings.compile is True and problem:
            line = f"hardware.compile=true: {problem}; install one, or choose false"
            raise unavailable(line, "hardware.compile", True)
        if self.settings.compile == "auto" and problem:
            self.warnings.append(f"hardware.compile=auto: {problem}; the network is not compiled")
        return bool(self._choose("compile", problem is None, problem or "a compiler is available"))

    def _micro_batch(self, accelerator: str) -> int | str | None:
        value = self.settings.micro_batch
        if value == "auto" and accelerator == "mps":
            self.why.append("micro_batch=null: the free memory of an Apple GPU is not known")
            return None
        reason = "measured at the first step" if value == "auto" else "set explicitly"
        self.why.append(f"micro_batch={'null' if value is None else value}: {reason}")
        return value

    def _memory_margin(self, shared: bool) -> float:
        if shared:
            return float(self._choose("memory_margin", MARGIN_SHARED, "other programs use the same memory"))
        return float(self._choose("memory_margin", MARGIN, "the GPU has its own memory"))

    def _empty_cache_every(self, unified: bool) -> int | None:
        if unified:
            reason = "the CPU needs the memory that torch keeps"
            return self._choose("empty_cache_every", EMPTY_CACHE_UNIFIED, reason)
        return self._choose("empty_cache_every", None, "no other program needs that memory")


def unavailable(line: str, key: str, value: Any) -> ConfigError:
    """The error of a setting that the machine cannot satisfy."""
    return ConfigError([Problem(line, "unavailable", key, value)])


def channels_last(gpu: Gpu | None, precision: str) -> tuple[bool, str]:
    """Whether that memory layout is faster, and why."""
    if gpu is not None and precision != "32-true" and gpu.capability >= CONVOLUTION_CAPABILITY:
        return True, "tensor cores are fastest with it in half precision"
    return False, "faster only in half precision on a CUDA GPU"


def tf32(gpu: Gpu | None, precision: str) -> tuple[bool, str]:
    """Whether float32 may be rounded to TF32, and why."""
    if precision == "32-true":
        return False, "32-true is exact"
    if gpu is not None and gpu.capability >= TF32_CAPABILITY:
        return True, "half precision was requested"
    return False, "the GPU does not support it"
