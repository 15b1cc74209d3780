"""Sensors that fail, return nonsense or are missing, and the command that shows them."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from musicreclass.cli import monitor as command
from musicreclass.hardware.monitor import Monitor
from musicreclass.hardware.sensors import GpuSensors, HostSensors, brief, gpu_count, open_nvml
from musicreclass.runs.folder import Run
from tests.conftest import table_overrides
from tests.hardware.test_profile import fake

GIB = 2**30
QUERIES = {
    "nvmlInit": None,
    "nvmlDeviceGetCount": 2,
    "nvmlDeviceGetHandleByIndex": "handle",
    "nvmlDeviceGetHandleByUUID": "handle",
    "nvmlDeviceGetName": b"NVIDIA GeForce RTX 3090",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=24 * GIB, used=6 * GIB, free=18 * GIB),
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40),
    "nvmlDeviceGetTemperature": 61,
    "nvmlDeviceGetPowerUsage": 214_500,
}


class NVMLError_NotSupported(Exception):
    pass


def zeroed(answer):
    return SimpleNamespace(**dict.fromkeys(vars(answer), 0)) if isinstance(answer, SimpleNamespace) else 0


def fake_nvml(**faults: str) -> SimpleNamespace:
    """An NVML of which some queries fail, return zeros, or return nonsense."""

    def query(name: str):
        def answer(*_):
            fault = faults.get(name)
            if fault == "unsupported":
                raise NVMLError_NotSupported("Not Supported")
            if fault == "broken":
                raise OSError("the driver went away")
            return {None: QUERIES[name], "zero": zeroed(QUERIES[name]), "nonsense": float("nan")}[fault]

        return answer

    return SimpleNamespace(NVML_TEMPERATURE_GPU=0, **{name: query(name) for name in QUERIES})


JETSON = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
    "proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 2097152 kB\n",
    "proc/stat": "cpu 100 0 100 800 0 0 0 0 0 0\n",
    "sys/devices/platform/gpu.0/load": "873\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "50000\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "47500\n",
    "sys/class/hwmon/hwmon0/name": "nct1008\n",
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
    "sys/class/hwmon/hwmon1/in1_input": "5000\n",
    "sys/class/hwmon/hwmon1/curr1_input": "1500\n",
}


def test_readings_of_a_graphics_card(tmp_path):
    nvml = open_nvml(fake_nvml())
    assert gpu_count(nvml) == 2
    sensors = GpuSensors(0, nvml, root=tmp_path)
    assert sensors.name() == "NVIDIA GeForce RTX 3090"
    assert sensors.read() == {"gpu_memory_used_mib": 6144.0, "gpu_memory_total_mib": 24576.0, "gpu_percent": 97.0,
                              "gpu_celsius": 61.0, "gpu_watts": 214.5}  # fmt: skip
    assert brief(sensors.read()) == "GPU 97 % 6.0/24.0 GiB 61 °C 214 W"


def test_a_jetson_with_a_broken_driver(tmp_path):
    root = fake(tmp_path, JETSON)
    expected = {
        "gpu_memory_used_mib": 6144.0,
        "gpu_memory_total_mib": 8192.0,
        "gpu_percent": 87.3,
        "gpu_celsius": 47.5,
        "gpu_watts": 7.5,
    }
    device_queries = [name for name in QUERIES if name.startswith("nvmlDeviceGet")]
    useless = [fake_nvml(**dict.fromkeys(device_queries, fault)) for fault in ("unsupported", "zero", "nonsense")]
    for nvml in (None, *useless):
        assert GpuSensors(0, nvml, root=root).read() == pytest.approx(expected)
    assert GpuSensors(0, None, root=root).name() == "NVIDIA Jetson Orin Nano"


def test_a_failing_query_affects_no_other(tmp_path):
    """Any number of queries fail in any way."""
    names = {"nvmlDeviceGetMemoryInfo": {"gpu_memory_used_mib", "gpu_memory_total_mib"}, "nvmlDeviceGetUtilizationRates": {"gpu_percent"},
             "nvmlDeviceGetTemperature": {"gpu_celsius"}, "nvmlDeviceGetPowerUsage": {"gpu_watts"}}  # fmt: skip
    everything = set().union(*names.values())
    for query, readings in names.items():
        for fault in ("unsupported", "broken", "nonsense"):
            assert set(GpuSensors(0, fake_nvml(**{query: fault}), root=tmp_path).read()) == everything - readings
    draw = random.Random(0)
    for _ in range(60):
        faults = {
            name: draw.choice(["unsupported", "broken", "zero", "nonsense"]) for name in QUERIES if draw.random() < 0.5
        }
        nvml = open_nvml(fake_nvml(**faults))
        assert gpu_count(nvml) in (0, 2)
        root = fake(tmp_path / "j", JETSON) if draw.random() < 0.5 else tmp_path / "nothing"
        sensors = GpuSensors(draw.randrange(3), nvml, root=root)
        assert sensors.name()
        assert all(value >= 0 for value in sensors.read().values())
    assert HostSensors(tmp_path / "gone", tmp_path / "nothing").read() == {}
    assert open_nvml(fake_nvml(nvmlInit="broken")) is None


def test_torch_replaces_a_missing_driver(tmp_path):
    cuda = SimpleNamespace(
        is_available=lambda: True,
        mem_get_info=lambda i: (3 * GIB, 4 * GIB),
        memory_allocated=lambda i: GIB,
        memory_reserved=lambda i: 1 / 0,
        get_device_properties=lambda i: 1 / 0,
    )
    readings = GpuSensors(0, None, SimpleNamespace(cuda=cuda), tmp_path).read()
    assert readings == {"gpu_memory_used_mib": 1024.0, "gpu_memory_total_mib": 4096.0, "gpu_allocated_mib": 1024.0}


def test_a_monitor_summarises_its_readings(tmp_path):
    root = fake(tmp_path, JETSON)
    with Monitor(0.1, tmp_path, nvml=fake_nvml(), root=root) as monitor:
        for _ in range(100):
            if monitor.latest:
                break
            time.sleep(0.02)
        (root / "sys/devices/platform/gpu.0/load").write_text("0\n")
        monitor.read()
        first, second = monitor.epoch(), monitor.epoch()
    assert first["hardware/gpu_celsius"] == 61
    assert 0 < first["hardware/gpu_percent"] < 87.3
    assert len(second) < len(first)
    assert monitor.summary()["gpu_percent"]["max"] == 87.3
    assert "61 °C" in monitor.status()
    assert monitor._thread is not None
    assert not monitor._thread.is_alive()
    with Monitor(None) as idle:
        assert (idle.epoch(), idle.summary(), idle.status()) == ({}, {}, "")


def test_a_sensor_that_hangs_does_not_block_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr("musicreclass.hardware.monitor.JOIN_TIMEOUT", 0.1)
    hung = fake_nvml()
    reading, released, answered = threading.Event(), threading.Event(), threading.Event()

    def hang(_: object) -> int:
        reading.set()
        released.wait(300)
        answered.set()
        return 0

    hung.nvmlDeviceGetPowerUsage = hang
    with Monitor(0.1, tmp_path, nvml=hung, root=tmp_path):
        assert reading.wait(300)
    assert not answered.is_set()  # the block was left while the sensor hung
    released.set()


def test_a_run_records_the_readings(run, table):
    overrides = [*table_overrides(table), "hardware.monitor_interval=0.1", "trainer.max_epochs=10", "run_dir=r"]
    assert run("train", *overrides, "model=mlp", "hardware=cpu").code == 0
    finished = Run(Path("r"))
    summary = finished.provenance["monitor"]
    assert summary["process_mib"]["max"] >= summary["process_mib"]["mean"] > 50
    assert "hardware" not in (finished.folder / "history.csv").read_text()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished.folder / "tensorboard"))
    events.Reload()
    assert "hardware/ram_used_mib" in events.Tags()["scalars"]
    json.dumps(finished.provenance, allow_nan=False)


def test_without_a_terminal_one_reading_is_printed(run, tmp_path, capfd):
    result = run("monitor")
    assert result.code == 0
    assert "CPU and memory" in result.out
    root = fake(tmp_path / "root", JETSON)
    assert command.main(["--once"], fake_nvml(nvmlDeviceGetName="broken", nvmlDeviceGetMemoryInfo="zero"), root) == 0
    out = capfd.readouterr().out
    assert out.count("NVIDIA Jetson Orin Nano") == 2  # the fake driver counts two
    assert "87 %" in out
    assert command.main([], fake_nvml(nvmlInit="broken"), tmp_path / "nothing") == 0
    assert "GPU" in capfd.readouterr().out.splitlines()[0]


def test_a_suggestion_for_a_model(run):
    result = run("monitor", "mlp", "trainer.batch_size=32", "hardware=cpu")
    assert result.code == 0, result.err
    assert all(text in result.out for text in ("mlp", "518", "32-true", "cpu", "trainer.batch_size=32"))
    result = run("monitor", "cnn_small", "data.clip_seconds=1", "trainer.batch_size=4", "hardware=cpu")
    assert all(text in result.out for text in ("cnn_small", "1 s", "22050 Hz", "trainer.batch_size=4"))
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["xgboost"], "model=xgboost"),
        (["cnnn"], "model=cnnn"),
        (["mlp", "seed=x"], "seed=x"),
        (["--interval", "0"], "--interval 0"),
        (["seed=1"], "seed=1"),
        (["--often"], "--often"),
    ],
)
def test_an_error_is_one_line_that_names_its_cause(run, arguments, name):
    result = run("monitor", *arguments)
    assert result.code == 2
    assert len(result.lines) == 1, result.err
    assert name in result.lines[0]


def test_kinds_of_problems(run):
    for arguments, kind in ((["--interval", "0"], "invalid_value"), (["seed=1"], "missing_argument")):
        assert [problem.kind for problem in run("monitor", *arguments).problems] == [kind]


def test_the_page_size_is_that_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 65536}.__getitem__)
    root = fake(tmp_path, {"proc/self/statm": "900 160 30 1 0 100 0\n"})
    assert HostSensors(tmp_path, root).read()["process_mib"] == 10.0


@pytest.mark.parametrize("interval", ["nan", "inf", "0", "-1", "1e9"])
def test_an_invalid_interval_is_named(run, interval):
    result = run("monitor", "--once", f"--interval={interval}")
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, "invalid_value", "--interval")
