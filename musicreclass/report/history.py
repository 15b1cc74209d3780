"""What a fit logs as it goes: history.csv, TensorBoard, and the figure of learning curves, for every kind of model alike."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from musicreclass.storage.atomic import replacing

# of TensorBoard's custom scalars: training and validation in one chart
LAYOUT = {
    "training and validation": {
        title: ["Multiline", [f"^train/{name}$", f"^valid/{name}$"]]
        for name, title in (("loss", "loss"), ("accuracy", "accuracy"), ("macro_f1", "macro-F1"))
    },
    "learning rate": {"learning rate": ["Multiline", ["^lr$"]]},
}


class Curves:
    """Values per epoch (of a network) or per round (of boosting).

    Args:
        folder: the run folder.
        tensorboard: whether to write event files too.
        resume: whether to go on from the history that an interrupted fit has left.
    """

    def __init__(self, folder: Path, tensorboard: bool, resume: bool = False) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = self._read() if resume else []
        self.tensorboard = tensorboard
        self.writer: Any = None

    def log(self, epoch: int, values: dict[str, float]) -> None:
        """Take the values of one epoch or round; what was logged of it and later ones before is void."""
        self.rows = [row for row in self.rows if row["epoch"] < epoch]
        self.rows.append(
            {"epoch": epoch, **{k: v for k, v in values.items() if not k.startswith(("speed/", "hardware/"))}}
        )
        self.save()
        self._open(epoch)
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(name, value, epoch)

    def figure(self, name: str, figure: Any) -> None:
        """Take a picture of what goes in, ahead of the first epoch."""
        if not self.rows:
            self._open(0)
            if self.writer is not None:
                self.writer.add_figure(name, figure, 0, close=False)

    def _open(self, epoch: int) -> None:
        """Open the event file; what an interrupted fit wrote of this epoch and later ones is not shown again."""
        if self.tensorboard and self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=epoch or None)
            self.writer.add_custom_scalars(LAYOUT)

    def _read(self) -> list[dict[str, float]]:
        try:
            with (self.folder / "history.csv").open(newline="", encoding="utf-8") as file:
                table = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
        except (OSError, ValueError):
            return []
        return [{**row, "epoch": int(row["epoch"])} for row in table if "epoch" in row]

    def save(self) -> None:
        """Write history.csv, if there is any history."""
        if not self.rows:
            return
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(self.folder / "history.csv") as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(self.rows)

    def finish(self, hyperparameters: dict[str, Any], results: dict[str, float], figures: dict[str, Any]) -> None:
        """Add the final results to TensorBoard: as scalars, beside the hyperparameters, and as pictures.

        Args:
            hyperparameters: plain values by name.
            results: final metrics by name, such as `final/valid_accuracy`.
            figures: matplotlib figures by name.
        """
        self.save()
        self._open(0)
        if self.writer is None:
            return
        from torch.utils.tensorboard.summary import hparams

        known = {k: v for k, v in hyperparameters.items() if isinstance(v, (bool, int, float, str))}
        # Through the run's own writer, since add_hparams would make a sub-run of its own. Without the first of the three, the
        # list of columns: the HParams tab would take that of whichever run it reads first, and show no other model's settings.
        for summary in hparams(known, results)[1:]:
            self.writer.file_writer.add_summary(summary)
        for name, value in results.items():
            self.writer.add_scalar(name, value, 0)
        for name, figure in figures.items():
            self.writer.add_figure(name, figure, 0, close=False)
        self.writer.close()
