"""Fine-tuning OpenJMLA: which parameters are trained, and when."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from musicreclass.errors import ConfigError
from musicreclass.models.openjmla_finetune import OpenJMLA
from tests.openjmla import SHORT_WINDOW, music

HEAD = 768 * 256 + 256 + 256 * 10 + 10
BLOCK = 7_087_872


@pytest.mark.parametrize(("trainable", "count"), [
    ({"trainable": "head"}, HEAD), ({"trainable": "head", "hidden": 0}, 768 * 10 + 10),
    ({"trainable": "last_blocks"}, HEAD + 2 * BLOCK + 1536), ({"trainable": "all"}, HEAD + 86_366_208),
])  # fmt: skip
def test_trainable_parameters(trainable, count):
    network = OpenJMLA(10, "random", window_seconds=SHORT_WINDOW, **trainable).train()
    trained = [p for group in network.parameter_groups() for p in group["params"]]
    assert sum(p.numel() for p in trained) == count
    assert {id(p) for p in network.parameters() if p.requires_grad} == {id(p) for p in trained}
    assert not any(module.training for module in network.encoder.modules())
    assert network.head.training
    F.cross_entropy(network(music(1.2)), torch.tensor([3])).backward()
    assert all((p.grad is not None) == p.requires_grad for p in network.parameters())


def test_gradual_unfreezing_and_layer_decay():
    network = OpenJMLA(
        4,
        "random",
        window_seconds=SHORT_WINDOW,
        trainable="last_blocks",
        last_blocks=3,
        layer_decay=0.5,
        unfreeze_every=2,
    )
    assert [group["lr_scale"] for group in network.parameter_groups()] == [1.0, 1.0, 0.5, 0.25]
    for epoch, blocks in enumerate([0, 0, 1, 1, 2, 2, 3, 3, 3, 3]):
        network.begin_epoch(epoch)
        unfrozen = [i for i, block in enumerate(network.encoder.layers) if next(block.parameters()).requires_grad]
        assert unfrozen == list(range(12 - blocks, 12)), epoch
        assert network.encoder.ln1.weight.requires_grad == (blocks > 0)
        assert not network.encoder.pos_embed.requires_grad


@pytest.mark.parametrize(("settings", "kind"), [
    ({"trainable": "some"}, "invalid_value"), ({"last_blocks": 13}, "out_of_range"),
])  # fmt: skip
def test_invalid_settings(settings, kind):
    with pytest.raises(ConfigError) as caught:
        OpenJMLA(4, None, **settings)
    ((key, value),) = settings.items()
    (problem,) = caught.value.problems
    assert (problem.kind, problem.key, problem.value) == (kind, f"model.{key}", value)
