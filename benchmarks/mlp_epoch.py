"""Seconds per MLP epoch, 17,000 x 518, batch 64, validation included, compared with three other ways to train the same network.

The ways alternate over eleven rounds of five epochs. The figures are medians of the ratios within a round, so that changes in the
speed of the machine do not distort them. `--cpu-time` counts CPU time instead, for a machine that other programs use.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from musicreclass.classifiers.base import Workspace
from musicreclass.classifiers.factory import build_classifier
from musicreclass.config.check import train_settings
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.models.mlp import MLP

TRAIN, VALID, FEATURES, CLASSES, BATCH, EPOCHS, ROUNDS = 17_000, 2_000, 518, 16, 64, 5, 11

clock = time.process_time if "--cpu-time" in sys.argv else time.perf_counter


class SyntheticTable(TableSource):
    """Noise around a mean per class."""

    def __init__(self) -> None:
        super().__init__({"protocol": "column"})

    def files(self) -> list[Path]:
        return []

    def read(self) -> FeatureTable:
        rng = np.random.default_rng(0)
        n = TRAIN + VALID
        y = rng.integers(0, CLASSES, n)
        x = (rng.standard_normal((n, FEATURES)) + 0.3 * rng.standard_normal((CLASSES, FEATURES))[y]).astype(np.float32)
        split = np.where(np.arange(n) < TRAIN, "train", "valid")
        return FeatureTable(
            np.arange(n), [f"c{k:02d}" for k in y], x, [f"f{i}" for i in range(FEATURES)], {"split": split}
        )


class Rows(Dataset):
    """One track at a time, as in Lightning's tutorials."""

    def __init__(self, x: np.ndarray, y: np.ndarray, as_tensors: bool) -> None:
        self.x, self.y = (torch.from_numpy(x), torch.from_numpy(y)) if as_tensors else (x, y)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int):
        return self.x[i], self.y[i]


def seconds_per_epoch(ends: list[float]) -> float:
    """Mean over all epochs but the first, from the times at which they ended."""
    return (ends[-1] - ends[0]) / (len(ends) - 1)


def musicreclass_epoch(data: TableSource) -> float:
    ends: list[float] = []
    plain = ["optimizer=adam", "scheduler=none", "early_stopping=none", "trainer.label_smoothing=0", "hardware=cpu"]
    settings = train_settings([*plain, f"trainer.max_epochs={EPOCHS}"])
    profile = resolve_profile(settings.hardware)
    profile.apply()
    classifier = build_classifier(settings, profile, data)
    with tempfile.TemporaryDirectory() as folder:
        classifier.fit(data, Workspace(Path(folder), lambda epoch, values: ends.append(clock())))
    return seconds_per_epoch(ends)


class Textbook(pl.LightningModule):
    """Automatic optimisation, with logging of every step."""

    def __init__(self, ends: list[float]) -> None:
        super().__init__()
        self.network, self.ends = MLP(FEATURES, CLASSES), ends

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self.network(x)
        loss = F.cross_entropy(logits, y)
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        self.log("train/accuracy", (logits.argmax(1) == y).float().mean(), on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self.network(x)
        self.log("valid/loss", F.cross_entropy(logits, y))
        self.log("valid/accuracy", (logits.argmax(1) == y).float().mean())

    def on_train_epoch_end(self):
        self.ends.append(clock())


def lightning_rows(data: TableSource) -> float:
    ends: list[float] = []
    (_, x, y), (_, xv, yv) = data.arrays("train"), data.arrays("valid")
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(max_epochs=EPOCHS, accelerator="cpu", default_root_dir=folder, enable_progress_bar=False,
                             enable_model_summary=False)  # fmt: skip
        trainer.fit(
            Textbook(ends),
            DataLoader(Rows(x, y, True), BATCH, shuffle=True),
            DataLoader(Rows(xv, yv, True), BATCH),
        )
    return seconds_per_epoch(ends)


def plain_loop(train, valid, fused: bool) -> float:
    """Forward, backward, step, and a validation pass; nothing else."""
    network = MLP(FEATURES, CLASSES)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused)
    ends: list[float] = []
    for _ in range(EPOCHS):
        network.train()
        for x, y in train():
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            sum(F.cross_entropy(network(x), y, reduction="sum") for x, y in valid())
        ends.append(clock())
    return seconds_per_epoch(ends)


def numpy_rows(data: TableSource) -> float:
    (_, x, y), (_, xv, yv) = data.arrays("train"), data.arrays("valid")
    train, valid = DataLoader(Rows(x, y, False), BATCH, shuffle=True), DataLoader(Rows(xv, yv, False), BATCH)
    return plain_loop(lambda: train, lambda: valid, fused=False)


def tensor_loop(data: TableSource) -> float:
    (_, x, y), (_, xv, yv) = (
        [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in data.arrays(s)] for s in ("train", "valid")
    )

    def train():
        for rows in torch.randperm(len(x)).split(BATCH):
            yield x[rows], y[rows]

    return plain_loop(train, lambda: [(xv, yv)], fused=True)


def main() -> None:
    import logging
    import warnings

    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    data = SyntheticTable()
    data.setup()
    loops: dict[str, Callable[[TableSource], float]] = {
        "musicreclass": musicreclass_epoch,
        "Lightning, per-row DataLoader, step logging": lightning_rows,
        "plain loop, per-row numpy Dataset": numpy_rows,
        "plain tensor loop, fused Adam": tensor_loop,
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, train in loops.items():
            seconds[name].append(train(data))
    print(
        f"MLP epoch, {TRAIN:,} x {FEATURES}, batch {BATCH}, {torch.get_num_threads()} threads, medians of {ROUNDS} rounds"
    )
    reference = seconds["musicreclass"]
    for name, values in seconds.items():
        ratio = statistics.median(t / r for t, r in zip(values, reference, strict=True))
        print(f"  {name:<46}{statistics.median(values):7.3f} s/epoch   {ratio:5.2f} x musicreclass")


if __name__ == "__main__":
    nn.Linear(1, 1)  # initialises torch before the first round
    main()
