"""`features.parallel=ray` on a real cluster of two workers on this machine, one of which is killed on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicreclass.errors import DataError
from musicreclass.features import extractors
from musicreclass.features.extractors import ExtractorPart
from musicreclass.features.feature_data import FeatureData
from musicreclass.features.fma518.extractor import FMA518
from tests.features.test_feature_data import source_of, write_music

pytestmark = pytest.mark.slow
ray: Any = pytest.importorskip("ray", reason="Ray is not installed: pip install 'musicreclass[ray]'")

SLOW = """
import os
import signal
import time
from pathlib import Path

from musicreclass.features.fma518.extractor import FMA518


class Slow(FMA518):
    def __init__(self, folder, deaths, parallel):
        super().__init__(sets=["mfcc"], parallel=parallel)
        self.folder, self.deaths = Path(folder), deaths

    def extract(self, path):
        if path.parts[-2:] == ("jazz", "5.wav") and len(list(self.folder.glob("died-*"))) < self.deaths:
            (self.folder / f"died-{time.time_ns()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (self.folder / f"started-{path.parent.name}-{path.name}-{time.time_ns()}").touch()
        time.sleep(0.2)
        return super().extract(path)
"""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without processors, and two nodes of one each."""
    from ray.cluster_utils import Cluster

    memory = 80_000_000
    started = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": memory, "include_dashboard": False},
    )
    for _ in range(2):
        started.add_node(num_cpus=1, object_store_memory=memory)
    started.wait_for_nodes()
    monkeypatch.setenv("RAY_ADDRESS", started.address)
    monkeypatch.setattr(extractors, "ALONE_SECONDS", 0.0)
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture
def extractor_class(here: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """An extractor that takes time, and may kill its worker."""
    monkeypatch.syspath_prepend(str(here))
    module = f"slow_{abs(hash(request.node.name))}"
    (here / f"{module}.py").write_text(SLOW)
    return __import__(module).Slow


def table_of(here: Path, extractor: FMA518, name: str, workers: int = 2) -> np.ndarray:
    data = FeatureData(source_of(here / "music", here / name, workers=workers), {"x": ExtractorPart(extractor)})
    data.setup()
    return data.x


@pytest.mark.parametrize("lost", ["nothing", "worker", "node"])
def test_a_cluster_that_loses_a_worker_gives_the_same_table(here, cluster, extractor_class, lost):
    write_music(here / "music", 8)
    expected = table_of(here, FMA518(sets=["mfcc"]), "alone", workers=1)
    nodes = [node for node in cluster.list_all_nodes() if node is not cluster.head_node]

    def remove_node() -> None:
        while len(list(here.glob("started-*"))) < 6:
            time.sleep(0.02)
        cluster.remove_node(nodes[0], allow_graceful=False)

    if lost == "node":
        thread = threading.Thread(target=remove_node)
        thread.start()
    extractor = extractor_class(str(here), 1 if lost == "worker" else 0, "ray")
    table = table_of(here, extractor, "ray")
    assert np.array_equal(table, expected)
    assert len(list(here.glob("died-*"))) == (lost == "worker")
    if lost == "node":
        thread.join()


def test_a_recording_that_always_kills_its_worker_is_one_error(here, cluster, extractor_class):
    write_music(here / "music", 8)
    with pytest.raises(DataError) as caught:
        table_of(here, extractor_class(str(here), 100, "ray"), "ray")
    assert caught.value.kind == "worker_died"


def test_features_are_prepared_on_a_cluster(run, here, cluster, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "cache"))
    music = write_music(here / "music", 4)
    options = ["data=folder", f"data.root={music.relative_to(here)}", "features=fma518"]
    result = run("prepare", *options, "features.parallel=ray", "data.workers=2", "table=ray.csv")
    assert result.code == 0, result.err
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "other"))
    assert run("prepare", *options, "table=alone.csv").code == 0
    assert (here / "ray.csv").read_bytes() == (here / "alone.csv").read_bytes()
