"""The layer probe: its mix, the layers it reads from column names, and the layer that it prefers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from musicreclass.errors import ConfigError
from musicreclass.models.layer_probe import LayerProbe, layer_names
from musicreclass.runs.folder import Run


def columns(layers: int, width: int, prefix: str = "") -> list[str]:
    return [f"{prefix}layer_{k}/{i}" for k in range(layers) for i in range(width)]


def test_the_mix_equals_one_by_hand() -> None:
    probe = LayerProbe(6, 2, columns(3, 2), hidden=0)
    with torch.no_grad():
        probe.mix.copy_(torch.log(torch.tensor([1.0, 2.0, 5.0])))
        probe.head[0].weight.copy_(torch.tensor([[1.0, -1.0], [0.5, 2.0]]))
        probe.head[0].bias.copy_(torch.tensor([0.25, 0.0]))
    x = torch.tensor([[8.0, 0.0, 4.0, 8.0, 1.6, 3.2]])  # layers [8, 0], [4, 8], [1.6, 3.2]; weights 1/8, 2/8, 5/8
    mean = [1.0 + 1.0 + 1.0, 0.0 + 2.0 + 2.0]
    expected = torch.tensor([[mean[0] - mean[1] + 0.25, 0.5 * mean[0] + 2.0 * mean[1]]])
    torch.testing.assert_close(probe(x), expected, atol=1e-6, rtol=1e-6)


def test_layers_are_read_from_the_columns() -> None:
    assert layer_names(columns(2, 3)) == ["layer_0", "layer_1"]
    assert layer_names(columns(2, 1, "huggingface/")) == ["huggingface/layer_0", "huggingface/layer_1"]
    assert layer_names(["a", "b"]) == []
    assert len(LayerProbe(4, 2, ["a", "b", "c", "d"]).mix) == 1


@pytest.mark.parametrize("names", [
    [*columns(1, 3), "layer_1/0"], [*columns(2, 2), "tempo"], ["layer_0/0", "layer_1/0", "layer_0/1", "layer_1/1"],
])  # fmt: skip
def test_unequal_layers_are_rejected(names: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        LayerProbe(len(names), 2, names)
    assert (caught.value.kind, caught.value.key) == ("input_mismatch", "model")


def test_the_informative_layer_is_recovered(run, here: Path) -> None:
    rng, n, layers, width = np.random.default_rng(0), 300, 4, 8
    y = np.arange(n) % 3
    x = rng.normal(size=(n, layers, width))
    x[:, 2] += 2 * rng.normal(size=(3, width))[y]
    frame = pd.DataFrame(x.reshape(n, -1), columns=columns(layers, width))
    frame.insert(0, "track_id", [f"t{i}" for i in range(n)])
    frame["label"] = np.array(["blues", "jazz", "rock"])[y]
    frame.to_csv("t.csv", index=False)
    result = run("train", "data=table", "data.path=t.csv", "model=layer_probe", "trainer.max_epochs=40", "optimizer.lr=0.01",
                 "early_stopping=none", "run_dir=r")  # fmt: skip
    assert result.code == 0, result.err
    mix = torch.load(here / "r/model/weights.pt")["1.mix"].softmax(0)
    assert mix.argmax() == 2
    assert mix[2] > 1.5 * mix[[0, 1, 3]].max()
    assert Run.open(here / "r").metrics["valid"]["accuracy"] > 0.9
    assert run("evaluate", "r", "--split", "test").code == 0  # the saved model is built with its columns
