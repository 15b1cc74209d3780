"""`musicreclass monitor`: what the machine is doing, and how many tracks of a model fit into its memory at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.table import Table

from musicreclass.cli.options import Options
from musicreclass.cli.terminal import say, show
from musicreclass.errors import UserError
from musicreclass.hardware.machine import ROOT, jetson_model
from musicreclass.hardware.sensors import GpuSensors, HostSensors, Readings, gpu_count, loaded_torch, open_nvml
from musicreclass.output import SafeConsole

ROWS = {  # reading: (label, unit, divisor, decimals)
    "gpu_percent": ("load", "%", 1, 0),
    "gpu_memory_used_mib": ("memory used", "GiB", 1024, 1),
    "gpu_memory_total_mib": ("memory", "GiB", 1024, 1),
    "gpu_celsius": ("temperature", "°C", 1, 0),
    "gpu_watts": ("power", "W", 1, 1),
    "cpu_percent": ("load", "%", 1, 0),
    "ram_used_mib": ("memory used", "GiB", 1024, 1),
    "ram_total_mib": ("memory", "GiB", 1024, 1),
    "disk_free_mib": ("free space on this disk", "GiB", 1024, 0),
}

MAX_INTERVAL = 86400.0  # seconds


def main(arguments: list[str], nvml: Any = None, root: Path = ROOT) -> int:
    """`musicreclass monitor [MODEL [OVERRIDES]] [--interval S] [--once]`.

    Args:
        arguments: of the command line, without the command's name.
        nvml: replaces NVIDIA's library.
        root: contains proc/ and sys/.
    """
    parser = Options(
        "musicreclass monitor",
        description="Show what the machine is doing. With a model: measure how many tracks fit into memory at once.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a model of conf/model/: measure its training step")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="OVERRIDE", help="as for train: hardware=rtx data.clip_seconds=10"
    )
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="SECONDS", help="seconds between two readings (default 1)"
    )
    parser.add_argument("--once", action="store_true", help="print one reading, as without a terminal")
    args = parser.parse_intermixed_args(arguments)
    if not 0 < args.interval <= MAX_INTERVAL:
        line = f"--interval {args.interval:g}: must be above 0 and at most {MAX_INTERVAL:g} seconds"
        raise UserError(line, "invalid_value", "--interval", args.interval)
    if args.model is not None:
        return measure_model(args.model, args.overrides)
    console = SafeConsole()
    sources = Sources(nvml, root)
    if args.once or not console.is_terminal:
        time.sleep(min(args.interval, 0.2))  # the processor's load is measured between two readings
        show(sources.table())
        return 0
    try:
        with Live(sources.table(), console=console, auto_refresh=False, transient=True) as live:
            while True:
                time.sleep(args.interval)
                live.update(sources.table(), refresh=True)
    except KeyboardInterrupt:
        show(sources.table())
    return 0


def measure_model(model: str, overrides: list[str]) -> int:
    """Measure a model's training step, and print how many tracks fit."""
    if "=" in model:
        message = f"{model}: name a model first: musicreclass monitor cnn {model}"
        raise UserError(message, "missing_argument", "MODEL", model)
    from musicreclass.tasks.batch_size import checked_settings, try_model

    settings = checked_settings(model, overrides)
    say("measuring ...", error=True)
    say(try_model(model, settings))
    return 0


class Sources:
    """The sensors of each GPU and of the host."""

    def __init__(self, nvml: Any = None, root: Path = ROOT) -> None:
        self.host = HostSensors(root=root)
        nvml = open_nvml(nvml)
        count = gpu_count(nvml) or int(jetson_model(root) is not None)
        self.gpus = [GpuSensors(index, nvml, loaded_torch(), root) for index in range(count)]

    def table(self) -> Group:
        """The current readings."""
        tables: list[Table | str] = [readings_table(gpu.name(), gpu.read()) for gpu in self.gpus]
        return Group(*(tables or ["no NVIDIA GPU found"]), readings_table("CPU and memory", self.host.read()))


def readings_table(title: str, readings: Readings) -> Table:
    """Readings as a table; those that are not available are left out."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False,
        min_width=len(title),
    )  # fmt: skip
    for name, (label, unit, divisor, decimals) in ROWS.items():
        if name in readings:
            table.add_row(f"  {label}", f"{readings[name] / divisor:.{decimals}f} {unit}")
    if not table.row_count:
        table.add_row("  no readings available", "")
    return table
