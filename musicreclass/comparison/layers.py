"""Sweeps over the layers of an encoder: rows of a table that differ in nothing but the layer."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from musicreclass.comparison.rows import Row
from musicreclass.comparison.tables import Table
from musicreclass.runs.signature import hashed

LAYER = "layer"  # key in the settings of features
NAMED = ("pooled", "embedding", "tags")  # layers of musicnn, from the input to the output
OUTER = ("last", "all")  # shown after the others


@dataclass(frozen=True)
class LayerSweep:
    """Rows over the layers of one encoder, from the input to the output.

    Attributes:
        label: what the rows have in common: `logreg features=musicnn`.
        layers: the layer of each row.
        rows: two or more.
    """

    label: str
    layers: list[str]
    rows: list[Row]


def layer_sweeps(table: Table) -> list[LayerSweep]:
    """The sweeps among the rows of a table, in order of first appearance."""
    groups: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in table.rows:
        run = row.runs[0]
        layers = layers_in(run.experiment.get("features"))
        if len(layers) == 1:
            experiment = {**run.experiment, "features": without_layer(run.experiment["features"])}
            groups[hashed([experiment, run.split, run.code])].setdefault(layers[0], row)
    sweeps = []
    for by_layer in groups.values():
        if len(by_layer) > 1:
            layers = sorted(by_layer, key=position)
            rows = [by_layer[layer] for layer in layers]
            sweeps.append(LayerSweep(common_label(rows[0]), layers, rows))
    return sweeps


def layers_in(features: Any) -> list[str]:
    """The layers that settings of features name, also of joined features."""
    if not isinstance(features, dict):
        return []
    below = [layer for name, value in features.items() if name != LAYER for layer in layers_in(value)]
    return [*([str(features[LAYER])] if LAYER in features else []), *below]


def without_layer(features: Any) -> Any:
    """Settings of features without the layer."""
    if not isinstance(features, dict):
        return features
    return {name: without_layer(value) for name, value in features.items() if name != LAYER}


def position(layer: str) -> tuple[int, int, str]:
    """The order of layers: numbers, musicnn's names, other names, `last`, `all`."""
    if layer.isdecimal():
        return 0, int(layer), ""
    if layer in NAMED:
        return 1, NAMED.index(layer), ""
    return (3, OUTER.index(layer), "") if layer in OUTER else (2, 0, layer)


def common_label(row: Row) -> str:
    """The label of a row without its layer."""
    others = [f"{name}={value}" for name, value in row.differences.items() if name.rpartition(".")[2] != LAYER]
    return " ".join([row.model, *others])
