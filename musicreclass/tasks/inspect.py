"""What is in a checkpoint or a run folder, and what can be done with it. Nothing in it is executed."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from musicreclass.classifiers.model_folder import ModelCard, read_card
from musicreclass.errors import WeightsError, printable
from musicreclass.models.openjmla import OpenJMLAEncoder
from musicreclass.models.weights.torch_files import flatten_tensors, foreign_objects, load_checkpoint, matching_prefixes
from musicreclass.runs.folder import Run

PLAIN_SHOWN = 8  # plain values of a checkpoint that are shown


def inspect_run(folder: Path, console: Console) -> None:
    """Show a run's state, protocol, scores and model.

    Raises:
        RunError: if the folder is no run.
    """
    run = Run.open(folder)
    choices = run.config.get("choices", {})
    metrics = run.metrics
    rows = [
        ("state", run.state + (f": {run.status['error']}" if run.status.get("error") else "")),
        ("chosen", ", ".join(f"{group}={option}" for group, option in choices.items() if option != "none")),
        (
            "signature",
            run.identity.get("signature", "unknown") + (" (the code has changed since)" if run.is_stale else ""),
        ),
    ]
    if metrics:
        protocol = metrics.get("protocol", {})
        why = "; ".join(protocol.get("why", []))
        rows.append(
            ("protocol", f"{protocol.get('split')}, leaks: {protocol.get('leaky')}" + (f" ({why})" if why else ""))
        )
        rows.append(("classes", f"{len(metrics['classes'])}: {', '.join(metrics['classes'])}"))
        for split in ("valid", "test"):
            if split in metrics:
                found = metrics[split]
                rows.append(
                    (split, f"accuracy {found['accuracy']:.3f}, macro-F1 {found['macro_f1']:.3f}, n = {found['n']}")
                )
    model = folder / "model"
    if model.is_dir():
        card = read_card(model)
        rows += about_model(card)
    show_rows(rows, console)
    if (model / "weights.pt").is_file():
        inspect_file(model / "weights.pt", console)


def about_model(card: ModelCard) -> list[tuple[str, str]]:
    """What a saved model is and reads."""
    if card.input == "table":
        reads = f"a table of {len(card.columns)} features"
    else:
        reads = f"{card.eval_crops} clips of {card.clip_seconds} s at {card.sample_rate} Hz of each track"
    arguments = ", ".join(f"{name}={value}" for name, value in card.arguments.items())
    return [("model", f"{card.target}({arguments})"), ("reads", reads)]


def inspect_file(path: Path, console: Console) -> None:
    """Show a checkpoint's tensors by module, its plain values, and what fits them.

    Raises:
        WeightsError: if it is no checkpoint, or damaged.
    """
    try:
        found = load_checkpoint(path)
    except WeightsError:
        brought = foreign_objects(path)
        if not brought:
            raise
        show_rows([("file", f"{path}, {size(path.stat().st_size)}"), ("format", file_format(path)),
                   ("brings", f"objects of {', '.join(brought)}: not opened")], console)  # fmt: skip
        console.print("its tensors can be used once their state_dict alone was saved, where it was made")
        return
    tensors = dict(flatten_tensors(found))
    total = sum(tensor.numel() for tensor in tensors.values())
    show_rows([("file", f"{path}, {size(path.stat().st_size)}"), ("format", file_format(path)),
               *plain_values(found)], console)  # fmt: skip
    table = Table("module", "tensors", "shapes", "numbers", "bytes", box=None, header_style="bold")
    table.columns[0].overflow, table.columns[0].no_wrap = "fold", True
    for column in (1, 3, 4):
        table.columns[column].justify = "right"
    for name, members in modules(tensors).items():
        shapes = list(dict.fromkeys("x".join(map(str, tensor.shape)) or "scalar" for tensor in members))
        told = ", ".join(shapes[:4]) + (", ..." if len(shapes) > 4 else "")
        bytes_there = sum(tensor.numel() * tensor.element_size() for tensor in members)
        table.add_row(
            printable(name), str(len(members)), told, f"{sum(t.numel() for t in members):,}", size(bytes_there)
        )
    table.add_row(
        "all",
        str(len(tensors)),
        "",
        f"{total:,}",
        size(sum(t.numel() * t.element_size() for t in tensors.values())),
        style="bold",
    )
    console.print(table)
    for line in uses(path, tensors):
        console.print(printable(line), soft_wrap=True)


def uses(path: Path, tensors: dict[str, torch.Tensor]) -> list[str]:
    """What can be done with a checkpoint, one line each."""
    wanted = {name: tensor.shape for name, tensor in OpenJMLAEncoder().state_dict().items()}
    lines = []
    found = matching_prefixes(tensors, wanted)
    for prefix in found:
        choice = f" features.prefix={prefix!r}" if len(found) > 1 else ""
        lines.append(f"an OpenJMLA encoder under {prefix!r}: features=openjmla features.checkpoint={path}{choice}")
    if path.parent.name == "checkpoints" and (path.parent.parent / "identity.json").is_file():
        lines.append(f"a checkpoint of the run {path.parent.parent}: the same command goes on from it")
    if path.parent.name == "model" and (path.parent / "meta.json").is_file():
        lines.append(f"the weights of a saved model: musicreclass evaluate {path.parent.parent}")
    return lines or ["no network of this project fits these tensors"]


def plain_values(found: Any) -> list[tuple[str, str]]:
    """The numbers and words that stand beside the tensors, by name."""
    if not isinstance(found, Mapping):
        return []
    plain = {str(name): value for name, value in found.items() if isinstance(value, (str, int, float))}
    rows = [(name[:24], str(value)[:80]) for name, value in list(plain.items())[:PLAIN_SHOWN]]
    return rows + ([("...", f"{len(plain) - PLAIN_SHOWN} more values")] if len(plain) > PLAIN_SHOWN else [])


def modules(tensors: dict[str, torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Tensors by the module that holds them; numbered layers that are alike stand together, as `layers.0-11`."""
    numbers: dict[str, set[int]] = {}
    members: dict[str, list[torch.Tensor]] = {}
    for name, tensor in tensors.items():
        head = re.match(r"(.*?\.)?(\d+)\.", name)
        group = f"{head[1] or ''}#" if head else name.rpartition(".")[0] or name
        members.setdefault(group, []).append(tensor)
        if head:
            numbers.setdefault(group, set()).add(int(head[2]))
    return {name.replace("#", span(numbers[name])) if name in numbers else name: m for name, m in members.items()}


def span(numbers: set[int]) -> str:
    """`0-11`, or the number itself."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}-{high}"


def file_format(path: Path) -> str:
    """What kind of file it is, by its content."""
    if path.suffix == ".safetensors":
        return "safetensors"
    return "PyTorch, zip" if zipfile.is_zipfile(path) else "PyTorch, before 1.6"


def size(count: int) -> str:
    """Bytes in a unit that fits."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.1f} GiB"


def show_rows(rows: list[tuple[str, str]], console: Console) -> None:
    """Print names and values, a line each."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        console.print(printable(f"{name:<{width}}  {value}"), soft_wrap=True)
