"""Sweeps over the layers of an encoder: which rows belong to one, in which order, and how they are shown."""

from __future__ import annotations

import json

import pytest
import yaml

from musicreclass.comparison.entries import read_runs
from musicreclass.comparison.layers import layer_sweeps, position
from musicreclass.comparison.render.layer_figure import layer_figure
from musicreclass.comparison.render.text import as_markdown
from musicreclass.comparison.tables import build_tables
from musicreclass.runs.find import find_runs
from tests.run_factory import make_run


def make_layer(outputs, layer, *, right=0.7, checkpoint="a", seed=0, model="mlp", parts=False):
    """A run on one layer of an encoder."""
    folder = make_run(outputs, f"{model}-{checkpoint}-{layer}-{seed}", model=model, seed=seed, right=right, groups=20,
                      features="musicnn", fingerprint=f"{checkpoint}{layer}")  # fmt: skip
    path = folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    features = {"_target_": "features.musicnn", "checkpoint": checkpoint, "layer": layer}
    config["features"] = {"_target_": "features.joined", "parts": {"one": features}} if parts else features
    path.write_text(yaml.safe_dump(config))
    identity = json.loads((folder / "identity.json").read_text())
    (folder / "identity.json").write_text(json.dumps({**identity, "signature": folder.name}))
    return folder


def sweeps_of(outputs):
    (table,) = build_tables(read_runs(find_runs(outputs))[0])
    return layer_sweeps(table)


def test_order_of_layers():
    layers = ["all", "last", "tags", "10", "own", "2", "embedding", "pooled"]
    assert sorted(layers, key=position) == ["2", "10", "pooled", "embedding", "tags", "own", "last", "all"]


def test_rows_that_differ_in_the_layer_only_are_a_sweep(here):
    for layer, right in ((10, 0.8), (2, 0.6), ("last", 0.7)):
        for seed in (0, 1):
            make_layer(here / "o", layer, right=right, seed=seed)
    make_layer(here / "o", 2, checkpoint="b")
    make_layer(here / "o", 4, checkpoint="b", model="cnn")
    make_run(here / "o", "plain", model="svm", groups=20)
    (sweep,) = sweeps_of(here / "o")
    assert sweep.layers == ["2", "10", "last"]
    assert [row.runs[0].settings.features.as_dict()["layer"] for row in sweep.rows] == [2, 10, "last"]
    assert [len(row.runs) for row in sweep.rows] == [2, 2, 2]
    assert "layer" not in sweep.label
    assert sweep.rows[1].scores["valid", "accuracy"].mean == pytest.approx(0.8, abs=0.01)


def test_a_sweep_is_drawn_and_listed(run, here):
    for layer in ("tags", "embedding", "pooled"):
        make_layer(here / "o", layer)
        make_layer(here / "o", layer, checkpoint="b", parts=True)
    tables = build_tables(read_runs(find_runs(here / "o"))[0])
    figure = layer_figure(tables)
    panels = figure.get_axes()
    assert len(panels) == 2
    for axes in panels:
        assert [text.get_text() for text in axes.get_xticklabels()] == ["pooled", "embedding", "tags"]
        assert len(axes.containers) == 2  # a split each
    lines = [
        line for line in as_markdown(tables).splitlines() if line.startswith(("| pooled", "| embedding", "| tags"))
    ]
    assert [line.split()[1] for line in lines] == ["pooled", "embedding", "tags"] * 2
    result = run("compare", "o", "--output", "layers.png", "--output", "page.html")
    assert result.code == 0, result.err
    assert (here / "layers.png").read_bytes()[1:4] == b"PNG"
    page = (here / "page.html").read_text()
    assert page.count("By layer") == 2
    positions = [page.index(f">{layer}</span>") for layer in ("pooled", "embedding", "tags")]
    assert positions == sorted(positions)


def test_runs_without_a_sweep_are_drawn_with_their_scores(run, here):
    make_run(here / "o", "plain")
    make_run(here / "o", "other", model="svm", splits=("valid",))
    make_run(here / "o", "elsewhere", tracks="u", leaky="yes")
    beginnings = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    outputs = [argument for kind in beginnings for argument in ("--output", f"scores.{kind}")]
    assert run("compare", "o", *outputs).code == 0
    for kind, beginning in beginnings.items():
        assert (here / f"scores.{kind}").read_bytes().startswith(beginning)
