"""Event files of runs, read from the files and from a TensorBoard server."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from musicreclass.runs.folder import Run
from tests.conftest import quick, table_overrides


@pytest.fixture
def runs(run, table, here) -> dict[str, Run]:
    """A network and an estimator."""
    for model in ("mlp", "xgboost"):
        result = run(
            "train", *table_overrides(table), *quick(model), f"run_dir=outputs/{model}", "evaluate=[valid,test]"
        )
        assert result.code == 0, result.err
    return {model: Run.open(here / "outputs" / model) for model in ("mlp", "xgboost")}


def events(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    return accumulator


def test_event_files_contain_curves_hparams_and_figures(runs):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    for model, model_run in runs.items():
        folders = {p.parent for p in model_run.folder.rglob("*tfevents*")}
        assert folders == {model_run.folder / "tensorboard"}  # no sub-runs
        accumulator = events(model_run.folder / "tensorboard")
        scalars = set(accumulator.Tags()["scalars"])
        assert {"train/loss", "valid/loss", "final/valid_accuracy", "final/test_macro_f1"} <= scalars
        assert len(accumulator.Scalars("valid/loss")) > 1
        final = accumulator.Scalars("final/valid_accuracy")[-1].value
        assert final == pytest.approx(model_run.metrics["valid"]["accuracy"])
        assert {"confusion_matrix/valid", "confusion_matrix/test"} <= set(accumulator.Tags()["images"])

        content = accumulator.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        hparams = HParamsPluginData.FromString(content).session_start_info.hparams
        assert hparams["model"].string_value == model
        assert hparams["seed"].number_value == 0
        assert hparams["leaky"].string_value == "unknown"
        assert not {"model.random_state", "random_state"} & set(hparams)
        # a list of columns would hide the other settings of other models
        assert "_hparams_/experiment" not in accumulator.summary_metadata
        (layout,) = accumulator.Tensors("custom_scalars__config__")
        assert b"^train/loss$" in layout.tensor_proto.string_val[0]


def test_no_logger_writes_no_events(run, table, here):
    assert run("train", *table_overrides(table), "logger=none", "run_dir=r").code == 0
    assert not (here / "r" / "tensorboard").exists()
    assert (here / "r" / "history.csv").exists()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str, body: dict | None = None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read())


def wait_for(function, seconds: float = 60):
    """Call a function until it succeeds, and return its result."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, AssertionError, KeyError):
            return function()
        time.sleep(0.3)
    return function()


@pytest.mark.slow
def test_a_server_shows_scalars_and_hparams(runs, here):
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        "outputs",
        "--port",
        str(port),
        "--host",
        "127.0.0.1",
    ]
    server = subprocess.Popen([*command, "--load_fast", "false"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/data/"

        def run_names():
            names = set(fetch(url + "runs"))
            assert names == {"mlp/tensorboard", "xgboost/tensorboard"}
            return names

        wait_for(run_names)
        points = fetch(url + "plugin/scalars/scalars?run=mlp/tensorboard&tag=valid/loss")
        assert [step for _, step, _ in points] == [0, 1, 2, 3, 4]
        columns = [{"hparam": "model", "includeInResult": True}]
        metrics = [{"metric": {"tag": "final/valid_accuracy"}, "includeInResult": True}]
        query = {"experimentName": "", "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"],
                 "colParams": columns + metrics, "startIndex": 0, "sliceSize": 10}  # fmt: skip
        groups = fetch(url + "plugin/hparams/session_groups", query)["sessionGroups"]
        accuracies = {
            group["hparams"]["model"]: {m["name"]["tag"]: m["value"] for m in group["metricValues"]}[
                "final/valid_accuracy"
            ]
            for group in groups
        }
        assert accuracies == {m: pytest.approx(r.metrics["valid"]["accuracy"]) for m, r in runs.items()}
        columns = fetch(url + "plugin/hparams/experiment", {"experimentName": ""})
        assert {"optimizer.lr", "model.max_depth"} <= {
            column["name"] for column in columns["hparamInfos"]
        }  # of both models
        assert "final/valid_accuracy" in {column["name"]["tag"] for column in columns["metricInfos"]}
        charts = fetch(url + "plugin/custom_scalars/layout")["category"][0]["chart"]
        assert charts[0]["multiline"]["tag"] == ["^train/loss$", "^valid/loss$"]
    finally:
        server.terminate()
        server.wait(10)
