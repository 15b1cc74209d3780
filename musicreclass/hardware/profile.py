"""What a run may use of the machine it is on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from musicreclass.errors import ConfigError
from musicreclass.hardware.machine import Gpu, Machine

PREFETCH, PREFETCH_UNIFIED = 3, 2  # batches that are prepared while the network computes
MARGIN, MARGIN_SHARED = 0.1, 0.25  # of the memory that is free; more of one that all programs share
EMPTY_CACHE_UNIFIED = 20  # batches
INTERVAL = 5.0  # seconds


@dataclass(frozen=True)
class Profile:
    """A resolved hardware profile: how a run uses the machine, apart from what it computes.

    Results agree between profiles but for the order of floating-point sums, and for what `micro_batch` divides: batch
    statistics, and dropout masks, which are drawn for each forward pass (and drawn otherwise by compiled networks).
    identity.json says which micro-batch it was.

    Attributes:
        accelerator: as Lightning names it: `cpu`, `cuda` or `mps`.
        devices: GPUs, or processes on a CPU, that train one network together on each machine.
        nodes: machines.
        strategy: how: `single` for one process, `ddp`.
        precision: as Lightning names it; what was asked for, unless a profile asked for it and the machine lacks it.
        threads: for computing on the CPU.
        workers: threads that decode audio.
        prefetch: batches of audio that are prepared ahead.
        pin_memory: whether they lie in page-locked memory, from which a GPU fetches them by itself.
        channels_last: whether convolutions keep their channels innermost in memory.
        tf32: whether a CUDA GPU may round what float32 it multiplies to TF32.
        compile: whether networks are compiled with torch.compile.
        micro_batch: tracks per forward pass; None for a whole batch; `auto` to measure it.
        memory_margin: the share of the free memory that a measured micro-batch leaves.
        gpu_share: the share of a CUDA GPU's memory that this process may allocate, or None for all of it.
        empty_cache_every: batches after which unused GPU memory goes back to the system, or None.
        monitor_interval: seconds between two looks at the machine, or None.
        unified: whether GPU and processor share one memory.
        kind: of machine, as in `Machine`.
        why: a line for every setting that says why it is what it is.
        warnings: what was wanted and could not be.
    """

    accelerator: str
    devices: int
    nodes: int
    strategy: str
    precision: str
    threads: int
    workers: int
    prefetch: int
    pin_memory: bool
    channels_last: bool
    tf32: bool
    compile: bool
    micro_batch: int | str | None
    memory_margin: float
    gpu_share: float | None
    empty_cache_every: int | None
    monitor_interval: float | None
    unified: bool
    kind: str
    why: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        node: dict[str, Any],
        precision: str | None = None,
        named: bool = False,
        machine: Machine | None = None,
    ) -> Profile:
        """Resolve the settings of conf/hardware/ for a machine, without side effects; see `apply`.

        Args:
            node: `hardware` of a resolved configuration.
            precision: `trainer.precision`; None takes `hardware.precision`.
            named: whether the user set the precision; a profile's own falls back to 32-true if the machine lacks it.
            machine: None for the machine of this process.

        Raises:
            ConfigError: if the user set something that the machine does not have.
        """
        return Resolution(node, machine or Machine.here()).profile(precision or node["precision"], named)

    def apply(self) -> None:
        """Set torch's threads, TF32 and memory limit for this process. A task calls this once."""
        torch.set_num_threads(self.threads)
        if self.accelerator == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.tf32
            if self.gpu_share:
                torch.cuda.set_per_process_memory_fraction(self.gpu_share)

    @property
    def device(self) -> torch.device:
        """Where networks compute."""
        return torch.device(self.accelerator)

    @property
    def processes(self) -> int:
        """How many train one network together."""
        return self.devices * self.nodes

    def told(self) -> dict[str, Any]:
        """What provenance.json says of it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


class Resolution:
    """One look at what a profile asks for and what a machine has.

    Args:
        node: the profile's settings; `auto` is what the machine decides.
        machine: what there is.
    """

    def __init__(self, node: dict[str, Any], machine: Machine) -> None:
        self.node, self.machine = node, machine
        self.why: list[str] = []
        self.warnings: list[str] = []

    def profile(self, precision: str, named: bool) -> Profile:
        """Everything resolved, each thing after those that it depends on."""
        machine = self.machine
        accelerator = self._accelerator()
        gpu = machine.gpus[0] if accelerator == "cuda" else None
        unified = gpu is not None and machine.unified
        precision = self._precision(precision, named, accelerator, gpu)
        mixed = precision != "32-true"
        shared = unified or gpu is None
        settle = self._settle
        return Profile(
            accelerator=accelerator,
            devices=self._devices(accelerator),
            nodes=self.node["nodes"],
            strategy=self._strategy(),
            precision=precision,
            threads=settle("threads", self._threads),
            workers=settle("workers", lambda: (machine.cores, machine.cores_why)),
            prefetch=settle(
                "prefetch",
                lambda: (
                    (PREFETCH_UNIFIED, "GPU and processor share the memory")
                    if unified
                    else (PREFETCH, "the usual number")
                ),
            ),
            pin_memory=self._pin_memory(gpu, unified),
            channels_last=settle("channels_last", lambda: channels_last(gpu, mixed)),
            tf32=settle("tf32", lambda: tf32(gpu, mixed)),
            compile=self._compile(gpu),
            micro_batch=self._micro_batch(accelerator),
            memory_margin=settle(
                "memory_margin",
                lambda: (
                    (MARGIN_SHARED, "other programs use this memory, too")
                    if shared
                    else (MARGIN, "of a GPU's own memory")
                ),
            ),
            gpu_share=self.node.get("gpu_share"),
            empty_cache_every=settle(
                "empty_cache_every",
                lambda: (
                    (EMPTY_CACHE_UNIFIED, "what torch keeps is lost to the processor")
                    if unified
                    else (None, "what torch keeps is in nobody's way")
                ),
            ),
            monitor_interval=settle("monitor_interval", lambda: (INTERVAL, "the usual one")),
            unified=unified,
            kind=machine.kind,
            why=tuple(self.why),
            warnings=tuple(self.warnings),
        )

    def _settle(self, name: str, auto: Callable[[], tuple[Any, str]]) -> Any:
        """A setting as it is, or what the machine makes of `auto`; the reason is noted."""
        value, why = auto() if self.node[name] == "auto" else (self.node[name], "as it was set")
        self.why.append(f"{name}={json.dumps(value)}: {why}")
        return value

    def _accelerator(self) -> str:
        """Which one there is, or the one that was named."""
        machine, wanted = self.machine, self.node["accelerator"]
        there = {"cuda": bool(machine.gpus), "mps": machine.mps, "cpu": True}
        there["gpu"] = there["cuda"] or there["mps"]
        if wanted != "auto" and not there[wanted]:
            raise ConfigError(
                [f"hardware.accelerator={wanted}: torch {torch.__version__} sees none here; choose auto or cpu"]
            )
        found = next(n for n in ("cuda", "mps", "cpu") if there[n]) if wanted in ("auto", "gpu") else wanted
        told = "no GPU that torch can use"
        if found == "cuda":
            gpu = machine.gpus[0]
            told = f"{gpu.name}, capability {gpu.capability[0]}.{gpu.capability[1]}, {gib(gpu.memory)}"
            told += f", {machine.jetson}" if machine.jetson else ""
        elif found == "mps":
            told = "an Apple GPU"
        elif wanted == "cpu":
            told = "as it was set"
        shm = "" if machine.shared_memory is None else f", {gib(machine.shared_memory)} in /dev/shm"
        self.why.append(f"accelerator={found}: {told}; {gib(machine.memory)} of memory to be had{shm}")
        meant = self.node.get("kind")
        if meant and meant != machine.kind:
            self.warnings.append(
                f"hardware={meant}: this machine is of another kind ({machine.kind}); what it lacks is left out"
            )
        return found

    def _devices(self, accelerator: str) -> int:
        """As many as were asked for."""
        wanted = int(self.node["devices"])
        there = {"cuda": len(self.machine.gpus), "mps": 1}.get(accelerator, wanted)
        if wanted > there:
            raise ConfigError([f"hardware.devices={wanted}: torch sees {there} here; hardware.nodes counts machines"])
        several = wanted * self.node["nodes"] > 1
        if several and accelerator == "cpu" and self.node["accelerator"] != "cpu":
            told = "torch sees no GPU here; with hardware.accelerator=cpu it means processes"
            raise ConfigError([f"hardware.devices={wanted}, hardware.nodes={self.node['nodes']}: {told}"])
        if several:
            self.why.append(f"devices={wanted}, nodes={self.node['nodes']}: a batch is shared out among them")
        return wanted

    def _strategy(self) -> str:
        """How several processes train one network; nothing but Lightning's ddp is offered."""
        several = self.node["devices"] * self.node["nodes"] > 1
        if self.node["strategy"] == "ddp" and not several:
            raise ConfigError(["hardware.strategy=ddp: for several processes: hardware.devices=2"])
        return "ddp" if several else "single"

    def _threads(self) -> tuple[int, str]:
        """A processor each, for as many processes as there will be here."""
        cores, devices = self.machine.cores, int(self.node["devices"])
        why = self.machine.cores_why
        return (cores, why) if devices == 1 else (max(1, cores // devices), f"{why}, shared by {devices} processes")

    def _precision(self, wanted: str, named: bool, accelerator: str, gpu: Gpu | None) -> str:
        """The precision, or 32-true where a profile asked for one that is not there."""
        problem = None
        if wanted == "16-mixed" and gpu is None:
            problem = "needs a CUDA GPU; choose bf16-mixed or 32-true"
        elif wanted == "bf16-mixed" and gpu is not None and not gpu.has_bf16:
            problem = f"{gpu.name} has no bfloat16; choose 16-mixed or 32-true"
        elif wanted != "32-true" and accelerator == "mps":
            problem = "is not for Apple's GPUs; choose 32-true"
        if problem and named:
            raise ConfigError([f"trainer.precision={wanted}: {problem}"])
        if problem:
            self.warnings.append(f"hardware.precision={wanted}: {problem.partition(';')[0]}; the run is 32-true")
            return "32-true"
        if wanted != "32-true" and not named:
            self.why.append(f"trainer.precision={wanted}: the profile asks for it; it is part of the run's signature")
        return wanted

    def _pin_memory(self, gpu: Gpu | None, unified: bool) -> bool:
        if self.node["pin_memory"] is True and gpu is None:
            raise ConfigError(["hardware.pin_memory=true: needs a CUDA GPU; choose auto or false"])
        return bool(
            self._settle(
                "pin_memory",
                lambda: (
                    (False, "there is no CUDA GPU to copy to")
                    if gpu is None
                    else (not unified, "GPU and processor share the memory" if unified else "copies need not wait")
                ),
            )
        )

    def _compile(self, gpu: Gpu | None) -> bool:
        """Whether to compile; `auto` does where it can, and warns where it cannot."""
        problem = None
        if self.machine.compiler is None:
            problem = "there is no C++ compiler on the path"
        elif gpu is not None and not (self.machine.triton and gpu.capability >= (7, 0)):
            problem = "needs Triton and a GPU of capability 7.0"
        wanted = self.node["compile"]
        if wanted is True and problem:
            raise ConfigError([f"hardware.compile=true: {problem}; install one, or choose false"])
        if wanted == "auto" and problem:
            self.warnings.append(f"hardware.compile=auto: {problem}; the network is not compiled")
        return bool(self._settle("compile", lambda: (problem is None, problem or "there is what it needs")))

    def _micro_batch(self, accelerator: str) -> int | str | None:
        if self.node["micro_batch"] == "auto" and accelerator == "mps":
            self.why.append("micro_batch=null: nothing tells how much memory an Apple GPU has left")
            return None
        value = self.node["micro_batch"]
        told = "measured at the first step" if value == "auto" else "as it was set"
        self.why.append(f"micro_batch={'null' if value is None else value}: {told}")
        return value


def channels_last(gpu: Gpu | None, mixed: bool) -> tuple[bool, str]:
    """Whether it is worth it, and why."""
    if gpu is not None and mixed and gpu.capability >= (7, 0):
        return True, "tensor cores take half precision so"
    return False, "it pays with half precision on a CUDA GPU"


def tf32(gpu: Gpu | None, mixed: bool) -> tuple[bool, str]:
    """Whether it costs nothing that was not given away already, and why."""
    if gpu is not None and mixed and gpu.capability >= (8, 0):
        return True, "half precision was asked for anyway"
    return False, "32-true means it" if not mixed else "no GPU that has it"


def gib(size: int) -> str:
    """Bytes as text."""
    return f"{size / 2**30:.1f} GiB"
