"""Settings of `hardware` and `paths`."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from musicreclass.config.fields import (
    Auto,
    Count,
    Text,
    Threads,
    setting,
)
from musicreclass.config.settings.section import Section
from musicreclass.config.settings.training import Precision


class HardwareSettings(Section):
    """How a run uses the machine; `auto` depends on the machine."""

    complete = True
    kind: Literal["jetson", "rtx", "datacenter"] | None = setting(
        "machine that the profile is made for; a warning is printed on others"
    )
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = setting(
        "device that trains the network: auto | cpu | gpu | cuda | mps"
    )
    devices: Annotated[int, Ge(1), Le(1024)] = setting(
        "GPUs per machine that train one network (with accelerator=cpu: processes)"
    )
    nodes: Annotated[int, Ge(1), Le(65_536)] = setting("number of machines; start the processes with srun or torchrun")
    strategy: Literal["auto", "ddp"] = setting("multi-device strategy; auto selects ddp")
    precision: Precision = setting("precision used for trainer.precision=auto")
    threads: Threads | Auto = setting("CPU threads; auto: as many as this process may use")
    workers: Threads | Auto = setting(
        "threads that decode audio, and processes that extract features; auto: as many as this process may use"
    )
    prefetch: Annotated[int, Ge(1), Le(10_000)] | Auto = setting("batches of audio prepared in advance")
    pin_memory: bool | Auto = setting("page-locked batches, for faster transfer to the GPU")
    channels_last: bool | Auto = setting("channels-last memory layout, faster for half precision on GPUs")
    tf32: bool | Auto = setting("allow TF32 multiplications on GPUs; auto: not with 32-true")
    compile: bool | Auto = setting("use torch.compile; auto: if a compiler is available")
    micro_batch: Count | Auto | None = setting(
        "tracks per forward pass; auto: measured, as many as fit; null: the whole batch"
    )
    memory_margin: Annotated[float, Ge(0), Le(0.9)] | Auto = setting(
        "fraction of the free memory that micro_batch=auto leaves unused"
    )
    gpu_share: Annotated[float, Gt(0), Le(1)] | None = setting(
        "fraction of a GPU's memory that PyTorch may allocate; null: all"
    )
    empty_cache_every: Count | Auto | None = setting("release unused GPU memory after this many batches; null: never")
    monitor_interval: Annotated[float, Ge(0.1), Le(86400)] | Auto | None = setting(
        "seconds between sensor readings; null: no readings"
    )


class PathSettings(Section):
    """Folders."""

    outputs: Text = setting("folder of the run folders")
    cache: Text = setting("folder that stores expensive results")
    data: Text | None = setting("folder that contains GTZAN/ and FMA/")
    models: Text = setting("folder of pretrained weights")
