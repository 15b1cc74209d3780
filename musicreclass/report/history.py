"""The log of a fit, for every kind of model: history.csv, TensorBoard event files and trackers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.evaluation.metric_names import METRIC_LABELS
from musicreclass.report.trackers import Trackers
from musicreclass.runs.history import read_history
from musicreclass.storage.atomic import replacing

NOT_IN_HISTORY = ("speed/", "hardware/", "callback/")  # prefixes of values that need not repeat when a run is resumed
# TensorBoard's custom scalars: training and validation in one chart
CHART_LAYOUT = {
    "training and validation": {
        title: ["Multiline", [f"^train/{name}$", f"^valid/{name}$"]]
        for name, title in {"loss": "loss", **METRIC_LABELS}.items()
    },
    "learning rate": {"learning rate": ["Multiline", ["^lr$"]]},
}


class Curves:
    """Values per epoch (of a network) or per round (of boosting).

    Args:
        folder: the run folder.
        tensorboard: whether to write event files as well.
        resume: whether to continue the history of an interrupted fit.
    """

    def __init__(self, folder: Path, tensorboard: bool, resume: bool = False) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = read_history(folder) if resume else []
        self.tensorboard = tensorboard
        self.writer: Any = None
        self.trackers: Trackers | None = None

    def log(self, epoch: int, values: dict[str, float]) -> None:
        """Log the values of one epoch or round; earlier values of this and later epochs are discarded."""
        self.rows = [row for row in self.rows if row["epoch"] < epoch]
        self.rows.append({"epoch": epoch, **{k: v for k, v in values.items() if not k.startswith(NOT_IN_HISTORY)}})
        self.save()
        self._open(epoch)
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, epoch)
        if self.trackers is not None:
            self.trackers.log(epoch, values)

    def figure(self, name: str, figure: Any) -> None:
        """Log a figure of the training input, before the first epoch only."""
        if not self.rows:
            self._open(0)
            if self.writer is not None:
                self.writer.add_figure(name, figure, 0, close=False)

    def _open(self, epoch: int) -> None:
        """Open the event file, and purge what an interrupted fit wrote for this epoch and later ones."""
        if self.tensorboard and self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=epoch or None)
            self.writer.add_custom_scalars(CHART_LAYOUT)

    def save(self) -> None:
        """Write history.csv, unless the history is empty."""
        if not self.rows:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with (
            replacing(self.folder / "history.csv") as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(self.rows)

    def finish(self, hyperparameters: dict[str, Any], results: dict[str, float], images: dict[str, np.ndarray]) -> None:
        """Add the final results to the trackers, and to TensorBoard: hyperparameters with metrics, scalars, and images.

        Args:
            hyperparameters: plain values by name.
            results: final metrics by name, such as `final/valid_accuracy`.
            images: pixels by name, uint8 (height, width, 3).
        """
        self.save()
        if self.trackers is not None:
            self.trackers.finish(int(self.rows[-1]["epoch"]) if self.rows else 0, results)
        self._open(0)
        if self.writer is None:
            return
        from torch.utils.tensorboard.summary import hparams

        plain = {k: v for k, v in hyperparameters.items() if isinstance(v, (bool, int, float, str))}
        # The run's writer is used because add_hparams would create a sub-run. The first of the three summaries, the list of
        # columns, is skipped: the HParams tab would apply the list of the first run it reads to all, and hide other settings.
        for summary in hparams(plain, results)[1:]:
            self.writer.file_writer.add_summary(summary)
        for name, value in results.items():
            self.writer.add_scalar(name, value, 0)
        for name, pixels in images.items():
            self.writer.add_image(name, pixels, 0, dataformats="HWC")
        self.writer.close()
