"""The monitor task: what the machine is doing, and how many tracks of a model fit into it at once."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from musicreclass.cli.options import Options
from musicreclass.errors import UserError
from musicreclass.hardware.machine import ROOT, jetson_model
from musicreclass.hardware.sensors import GpuSensors, HostSensors, Readings, gpu_count, loaded_torch, open_nvml

SHOWN = {  # reading: (what it is, unit, divisor, decimals)
    "gpu_percent": ("at work", "%", 1, 0),
    "gpu_memory_used_mib": ("memory in use", "GiB", 1024, 1),
    "gpu_memory_total_mib": ("memory", "GiB", 1024, 1),
    "gpu_celsius": ("temperature", "°C", 1, 0),
    "gpu_watts": ("power", "W", 1, 1),
    "cpu_percent": ("at work", "%", 1, 0),
    "ram_used_mib": ("memory in use", "GiB", 1024, 1),
    "ram_total_mib": ("memory", "GiB", 1024, 1),
    "disk_free_mib": ("free on the disk here", "GiB", 1024, 0),
}


def main(arguments: list[str], nvml: Any = None, root: Path = ROOT) -> int:
    """`musicreclass monitor [MODEL [OVERRIDES]] [--interval S] [--once]`.

    Args:
        arguments: what follows the task's name.
        nvml: what to use as NVIDIA's library.
        root: holds proc/ and sys/.
    """
    parser = Options(
        "musicreclass monitor", description="What the machine is doing; with a model, how many tracks fit at once."
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model of conf/model/: measure its training step")
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="as in train: hardware=rtx data.clip_seconds=10"
    )
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between two looks (default 1)")
    parser.add_argument("--once", action="store_true", help="one look, as where there is no terminal")
    args = parser.parse_intermixed_args(arguments)
    if args.interval <= 0:
        raise UserError(f"--interval {args.interval}: must be above 0")
    if args.model is not None:
        if "=" in args.model:
            raise UserError(f"{args.model}: name a model first: musicreclass monitor cnn {args.model}")
        from musicreclass.tasks.batch_size import checked_settings, try_model

        settings = checked_settings(args.model, args.overrides)
        print("measuring ...", file=sys.stderr, flush=True)
        print(try_model(args.model, settings))
        return 0
    console = Console(highlight=False)
    sources = Sources(nvml, root)
    if args.once or not console.is_terminal:
        time.sleep(min(args.interval, 0.2))  # what the processor does is a difference
        console.print(sources.table())
        return 0
    try:
        with Live(sources.table(), console=console, auto_refresh=False, transient=True) as live:
            while True:
                time.sleep(args.interval)
                live.update(sources.table(), refresh=True)
    except KeyboardInterrupt:
        console.print(sources.table())
    return 0


class Sources:
    """All there is to look at: each GPU, and the rest of the machine."""

    def __init__(self, nvml: Any = None, root: Path = ROOT) -> None:
        self.host = HostSensors(root=root)
        found = open_nvml(nvml)
        count = gpu_count(found) or int(jetson_model(root) is not None)
        self.gpus = [GpuSensors(index, found, loaded_torch(), root) for index in range(count)]

    def table(self) -> Group:
        """What is seen at the moment."""
        blocks: list[Table | str] = [rows(gpu.name(), gpu.read()) for gpu in self.gpus]
        blocks = blocks or ["no GPU that NVML knows"]
        return Group(*blocks, rows("CPU and memory", self.host.read()))


def rows(title: str, found: Readings) -> Table:
    """Readings as a table; nothing stands for what nobody could tell."""
    table = Table(box=None, show_header=False, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for name, (label, unit, divisor, decimals) in SHOWN.items():
        if name in found:
            table.add_row(f"  {label}", f"{found[name] / divisor:.{decimals}f} {unit}")
    if not table.row_count:
        table.add_row("  nothing could be read", "")
    return table
