"""Focal loss equals its definition, and cross-entropy for gamma 0; runs that use it differ."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from musicreclass.config.check import train_settings
from musicreclass.errors import ConfigError
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import signed_settings
from musicreclass.training.loss import summed_loss
from tests.conftest import table_overrides


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(7, 4, requires_grad=True), torch.tensor([0, 1, 2, 3, 0, 1, 2]), torch.rand(4) + 0.5


def test_focal_loss_equals_its_definition(batch):
    logits, target, weight = batch
    p = logits.softmax(1)[torch.arange(7), target]
    expected = (-weight[target] * (1 - p) ** 2 * p.log()).sum()
    torch.testing.assert_close(summed_loss(logits, target, weight, 0.0, 2.0), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True])
def test_a_small_gamma_is_nearly_cross_entropy(batch, smoothing, soft):
    logits, target, weight = batch
    target = F.one_hot(target, 4) * 0.7 + 0.075 if soft else target
    expected = F.cross_entropy(logits, target, weight, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(summed_loss(logits, target, weight, smoothing, 0.0), expected)
    torch.testing.assert_close(summed_loss(logits, target, weight, smoothing, 1e-6), expected, rtol=1e-4, atol=1e-4)


def test_gradients_are_finite_for_certain_predictions():
    logits = torch.tensor([[100.0, 0.0], [-100.0, 0.0]], requires_grad=True)
    summed_loss(logits, torch.tensor([0, 1]), focal_gamma=0.5).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_a_run_is_trained_with_focal_loss(run, finished_run, table, here):
    assert run("train", *table_overrides(table), "trainer.focal_gamma=2", "run_dir=focal").code == 0
    focal, plain = Run.open(here / "focal"), finished_run("mlp", "plain")
    assert focal.identity.signature != plain.identity.signature
    assert focal.metrics["valid"]["log_loss"] != plain.metrics["valid"]["log_loss"]


def test_null_does_not_change_the_signature_and_other_values_are_rejected():
    assert "focal_gamma" not in signed_settings(train_settings(["data=demo"]))["trainer"]
    with pytest.raises(ConfigError) as caught:
        train_settings(["data=demo", "trainer.focal_gamma=-1"])
    assert caught.value.key == "trainer.focal_gamma"
