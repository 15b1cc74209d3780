"""Optimizer steps: how batches are grouped for Lightning, and how gradients are clipped."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import nn

from musicreclass.config.settings.training import OptimizerSettings, SchedulerSettings
from musicreclass.data.sampling import TrackSampler
from musicreclass.data.table import TensorBatches
from musicreclass.training.datamodule import BatchGroups
from musicreclass.training.module import GenreModule, TrainingPlan

ROWS = 70


def table_batches(batch_size: int, sampler: TrackSampler | None = None) -> TensorBatches:
    x = torch.randn(ROWS, 5, generator=torch.Generator().manual_seed(0))
    return TensorBatches((x, torch.arange(ROWS) % 3, torch.arange(ROWS)), batch_size, sampler)


@pytest.mark.parametrize("size", [1, 3, 7, 16])
def test_groups_contain_the_effective_batches_in_order(size):
    batches = table_batches(10, TrackSampler(ROWS, seed=1))
    groups = BatchGroups(batches, size)
    groups.sampler.set_epoch(2)
    grouped = list(groups)
    assert len(grouped) == len(groups)
    rows = [row.tolist() for group in grouped for _, _, row in group]
    assert rows == [row.tolist() for _, _, row in batches]
    assert [len(group) for group in grouped[:-1]] == [size] * (len(grouped) - 1)


def train_losses(fused: bool, size: int, half: bool) -> list[float]:
    """Loss of each epoch with clipped gradients, on a CPU; `half` as with fp16 on a GPU."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = OptimizerSettings.model_validate({"_target_": "torch.optim.SGD", "lr": 1.0, "fused": fused})
    losses: list[float] = []
    plan = TrainingPlan(optimizer, SchedulerSettings(), 10, 14, 0, gradient_clip_norm=0.05)
    module = GenreModule(network, 3, plan, lambda epoch, values: losses.append(values["train/loss"]))
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
        plugins=[MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))] if half else [],
    )  # fmt: skip
    trainer.fit(module, BatchGroups(table_batches(10, TrackSampler(ROWS, 0)), size), table_batches(ROWS))
    return losses


@pytest.mark.parametrize("fused", [False, True])
def test_clipped_gradients_do_not_depend_on_groups_or_on_gradient_scaling(fused):
    losses = train_losses(fused, size=1, half=False)
    assert train_losses(fused, size=4, half=False) == losses
    assert train_losses(fused, size=4, half=True) == pytest.approx(losses, abs=1e-3)
    assert losses[1] < losses[0]
