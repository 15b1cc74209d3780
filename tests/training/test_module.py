"""Optimizer steps and checkpoints: how batches are grouped, losses averaged, gradients clipped, and weights restored."""

from __future__ import annotations

import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins import MixedPrecision
from torch import nn

from musicreclass.config.settings.training import OptimizerSettings, SchedulerSettings
from musicreclass.data.sampling import TrackSampler
from musicreclass.data.table import TensorBatches
from musicreclass.training.datamodule import BatchGroups
from musicreclass.training.loss import summed_loss
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


def make_module(network: nn.Module, class_weight: torch.Tensor | None = None) -> GenreModule:
    optimizer = OptimizerSettings.model_validate({"_target_": "torch.optim.SGD", "lr": 1.0})
    plan = TrainingPlan(optimizer, SchedulerSettings(), 10, 14, 0, class_weight=class_weight)
    return GenreModule(network, 3, plan, lambda epoch, values: None)


def test_a_checkpoint_without_a_trained_parameter_is_rejected():
    network = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 3))
    network[0].requires_grad_(False)
    module = make_module(network)
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert set(checkpoint["state_dict"]) == {"network.1.weight", "network.1.bias"}
    module.load_state_dict(checkpoint["state_dict"])
    del checkpoint["state_dict"]["network.1.bias"]
    with pytest.raises(RuntimeError, match=r"network\.1\.bias"):
        module.load_state_dict(checkpoint["state_dict"])
    assert module.load_state_dict({}, strict=False).missing_keys == ["network.1.weight", "network.1.bias"]


def test_class_weights_of_mixed_targets_average_the_loss():
    weight = torch.tensor([0.2, 1.0, 7.0])
    module = make_module(nn.Linear(5, 3), weight)
    y = torch.tensor([0, 0, 2, 1])
    assert module.loss_divisor(y) == pytest.approx(0.2 + 0.2 + 7 + 1)
    one_hot = nn.functional.one_hot(y, 3).float()
    assert module.loss_divisor(one_hot) == pytest.approx(float(module.loss_divisor(y)))
    blended = 0.6 * one_hot + 0.4 * one_hot.roll(1, 0)[[0, 0, 2, 3]]
    loss = summed_loss(torch.zeros(4, 3), blended, weight)  # each track's loss is log 3 times its weight
    assert loss / module.loss_divisor(blended) == pytest.approx(math.log(3))
    assert make_module(nn.Linear(5, 3)).loss_divisor(blended) == 4


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
