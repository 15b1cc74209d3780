"""The monitor task: what the machine is doing, and how many tracks of a model fit into it at once."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from musicreclass.errors import ConfigError, UserError
from musicreclass.hardware.machine import ROOT, jetson_model
from musicreclass.hardware.sensors import GpuSensors, HostSensors, Readings, gpu_count, loaded_torch, open_nvml
from musicreclass.options import Options

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
FEATURES, CLASSES = 518, 10  # of a made-up table
MOST = 4096  # tracks at once that are tried on a GPU; on a CPU, which gains nothing by more, the batch


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
        print(suggestion(args.model, args.overrides))
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


def suggestion(model: str, overrides: list[str]) -> str:
    """How many tracks of a model fit through its training step at once on this machine, in a line or two.

    Raises:
        ConfigError: for a model or an override that cannot be, or a model that is no network.
    """
    from omegaconf import OmegaConf

    from musicreclass.check import Check
    from musicreclass.config import Tree, with_choices
    from musicreclass.identity import is_estimator

    tree = Tree()
    words = [f"model={model}", *overrides]
    if not any(word.startswith("data=") for word in overrides):
        reads = "waveform" if model in tree.options_reading("model", "input", "waveform") else "table"
        words.append("data=demo_audio" if reads == "waveform" else "data=demo")
    problems = Check(tree, "train", words, multirun=False).problems()
    if problems:
        raise ConfigError(problems)
    config: Any = OmegaConf.to_container(with_choices(tree.compose("train", words), {}), resolve=True)
    if is_estimator(config):
        raise ConfigError([f"model={model}: an estimator is fitted on all tracks at once; there is no batch to choose"])
    print("measuring ...", file=sys.stderr)
    from musicreclass.hardware.trial import try_model

    return try_model(model, config, FEATURES, CLASSES, MOST)
