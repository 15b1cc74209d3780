"""What a debugging run has measured: the figure of a learning rate range test, and lines for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicreclass.plurals import counted
from musicreclass.report.figures import learning_rate_figure, save_figure


def report_diagnosis(summary: dict[str, Any], folder: Path) -> list[str]:
    """Write the figure of a range test into a run folder.

    Args:
        summary: of the fit.
        folder: the run folder.

    Returns:
        the suggestion, or the seconds by part of a training step; empty for other runs.
    """
    lines = []
    if "lr_finder" in summary:
        test = summary["lr_finder"]
        path = folder / "figures" / "lr_finder.png"
        suggestion = test["suggestion"]
        save_figure(learning_rate_figure(test["lr"], test["loss"], suggestion), path)
        override = "the loss does not fall at any" if suggestion is None else f"optimizer.lr={suggestion:g}"
        lines.append(f"learning rate: {override} ({path})")
    if "profile" in summary:
        measured = summary["profile"]
        total = sum(measured["seconds"].values()) or 1.0
        lines += [
            f"{part:<10} {seconds:8.3f} s {100 * seconds / total:5.1f} %"
            for part, seconds in measured["seconds"].items()
        ]
        lines.append(
            f"over {counted(measured['items'], 'item')} of the loader; trace for ui.perfetto.dev: {measured['trace']}"
        )
    return lines
