"""What TensorBoard makes of a run: read from its files, and from a real server."""

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
from tests.conftest import table_overrides


@pytest.fixture
def runs(run, table, here) -> dict[str, Run]:
    """A network and an estimator, side by side."""
    for model in ("mlp", "xgboost"):
        result = run(
            "train", *table_overrides(table), f"model={model}", f"run_dir=outputs/{model}", "evaluate=[valid,test]"
        )
        assert result.code == 0, result.err
    return {model: Run.open(here / "outputs" / model) for model in ("mlp", "xgboost")}


def events(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def test_event_files_hold_curves_hparams_and_pictures(runs):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    for model, made in runs.items():
        folders = {p.parent for p in made.folder.rglob("*tfevents*")}
        assert folders == {made.folder / "tensorboard"}  # no sub-runs
        found = events(made.folder / "tensorboard")
        scalars = set(found.Tags()["scalars"])
        assert {"train/loss", "valid/loss", "final/valid_accuracy", "final/test_macro_f1"} <= scalars
        assert len(found.Scalars("valid/loss")) > 1
        final = found.Scalars("final/valid_accuracy")[-1].value
        assert final == pytest.approx(made.metrics["valid"]["accuracy"])
        assert {"confusion_matrix/valid", "confusion_matrix/test"} <= set(found.Tags()["images"])

        content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
        told = HParamsPluginData.FromString(content).session_start_info.hparams
        assert told["model"].string_value == model
        assert told["seed"].number_value == 0
        assert told["leaky"].string_value == "unknown"
        assert not {"model.random_state", "random_state"} & set(told)
        assert (
            "_hparams_/experiment" not in found.summary_metadata
        )  # or its columns would be all that is shown of others
        (layout,) = found.Tensors("custom_scalars__config__")
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
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def wait_for(what, seconds: float = 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, AssertionError, KeyError):
            return what()
        time.sleep(0.3)
    return what()


def test_a_server_shows_scalars_and_hparams(runs, here):
    port = free_port()
    words = [
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
    server = subprocess.Popen([*words, "--load_fast", "false"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/data/"

        def listed():
            names = set(fetch(url + "runs"))
            assert names == {"mlp/tensorboard", "xgboost/tensorboard"}
            return names

        wait_for(listed)
        points = fetch(url + "plugin/scalars/scalars?run=mlp/tensorboard&tag=valid/loss")
        assert [step for _, step, _ in points] == [0, 1, 2, 3, 4]
        columns = [{"hparam": "model", "includeInResult": True}]
        metrics = [{"metric": {"tag": "final/valid_accuracy"}, "includeInResult": True}]
        question = {"experimentName": "", "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_RUNNING"],
                    "colParams": columns + metrics, "startIndex": 0, "sliceSize": 10}  # fmt: skip
        groups = fetch(url + "plugin/hparams/session_groups", question)["sessionGroups"]
        shown = {
            group["hparams"]["model"]: {m["name"]["tag"]: m["value"] for m in group["metricValues"]}[
                "final/valid_accuracy"
            ]
            for group in groups
        }
        assert shown == {m: pytest.approx(r.metrics["valid"]["accuracy"]) for m, r in runs.items()}
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
