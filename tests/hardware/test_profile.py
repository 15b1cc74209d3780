"""Hardware profiles on other machines: fakes of /proc, /sys and the GPU."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from musicreclass.config.locations import CONF
from musicreclass.config.settings.machine import HardwareSettings
from musicreclass.errors import ConfigError, DataError
from musicreclass.hardware import machine
from musicreclass.hardware.machine import Gpu, Machine
from musicreclass.hardware.profile import Profile
from musicreclass.hardware.resolution import resolve_profile
from musicreclass.runs.folder import Run
from tests.conftest import settings_for, table_overrides

PROFILES = sorted(file.stem for file in (CONF / "hardware").glob("*.yaml"))
GIB = 2**30
LAPTOP = Machine(cores=8, cores_why="8 of 8", memory=12 * GIB, shared_memory=6 * GIB, compiler="/usr/bin/g++")
ORIN = replace(
    LAPTOP, jetson="NVIDIA Jetson Orin Nano", gpus=(Gpu("Orin", (8, 7), 8 * GIB, integrated=True),), triton=True
)
RTX = replace(LAPTOP, gpus=(Gpu("NVIDIA GeForce RTX 3090", (8, 6), 24 * GIB),), triton=True)
TURING = replace(LAPTOP, gpus=(Gpu("NVIDIA GeForce RTX 2080", (7, 5), 8 * GIB),), triton=True)
SERVER = replace(LAPTOP, gpus=(Gpu("NVIDIA H100 80GB HBM3", (9, 0), 80 * GIB),) * 2, triton=True)
APPLE = replace(LAPTOP, mps=True)
BARE = Machine(cores=1, cores_why="1 of 1", memory=0)
MACHINES = {
    "laptop": LAPTOP,
    "orin": ORIN,
    "rtx": RTX,
    "turing": TURING,
    "server": SERVER,
    "apple": APPLE,
    "bare": BARE,
}


@pytest.fixture
def restore_torch_settings():
    """Profiles set these for the whole process."""
    threads, matmul, cudnn = torch.get_num_threads(), torch.backends.cuda.matmul, torch.backends.cudnn
    tf32 = matmul.allow_tf32, cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    matmul.allow_tf32, cudnn.allow_tf32 = tf32


@cache
def hardware(profile: str, *overrides: str) -> HardwareSettings:
    return settings_for(f"hardware={profile}", *overrides).hardware


def resolved(profile: str, target: Machine, *overrides: str) -> Profile:
    return resolve_profile(hardware(profile, *overrides), machine=target)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_resolves_on_every_machine(profile):
    settings = hardware(profile)
    for name, target in MACHINES.items():
        resolution = resolve_profile(settings, machine=target)
        assert "auto" not in [value for key, value in asdict(resolution).items() if key != "micro_batch"], name
        explained = {line.partition("=")[0] for line in resolution.why}
        assert {"accelerator", "threads", "workers", "compile", "micro_batch", "tf32", "memory_margin"} <= explained
        assert resolution.threads == target.cores
        if resolution.accelerator != "cuda":
            assert (resolution.pin_memory, resolution.tf32, resolution.channels_last) == (False, False, False)
    assert resolve_profile(settings).threads >= 1  # on the machine that runs this


def test_a_profile_changes_the_process_only_when_it_is_applied(restore_torch_settings):
    threads = torch.get_num_threads()
    profile = resolved("rtx", RTX, f"hardware.threads={threads + 1}")
    assert profile.tf32
    assert (torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32) == (threads, False)
    profile.apply()
    assert (torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32) == (threads + 1, True)


def test_warnings_come_before_data_is_read(run, monkeypatch):
    def fail(*args, **kwargs):
        raise DataError("no data", "no_data")

    monkeypatch.setattr("musicreclass.tasks.plan.open_data", fail)
    monkeypatch.setattr("musicreclass.hardware.machine.Machine.kind", "cpu")
    result = run("train", "hardware=rtx", "seed=123")
    assert [problem.kind for problem in result.problems] == ["no_data"]
    assert result.lines[-1] == "no data"
    assert any(line.startswith("hardware=rtx: ") for line in result.lines[:-1]), result.err


def test_auto_never_lowers_precision():
    for target in MACHINES.values():
        resolution = resolved("auto", target)
        assert (resolution.precision, resolution.tf32, resolution.warnings) == ("32-true", False, ())


def test_auto_follows_the_machine():
    orin, rtx, server = resolved("auto", ORIN), resolved("rtx", RTX), resolved("datacenter", SERVER)
    assert (orin.kind, orin.accelerator, orin.empty_cache_every, orin.pin_memory, orin.prefetch) == (
        "jetson",
        "cuda",
        20,
        False,
        2,
    )
    assert (rtx.kind, rtx.precision, rtx.tf32, rtx.channels_last, rtx.pin_memory) == (
        "rtx",
        "bf16-mixed",
        True,
        True,
        True,
    )
    assert (server.kind, server.compile, server.empty_cache_every, server.memory_margin) == (
        "datacenter",
        True,
        None,
        0.05,
    )
    assert resolved("jetson", ORIN).empty_cache_every == 20
    assert resolved("auto", APPLE).accelerator == "mps"
    assert resolved("cpu", SERVER).accelerator == "cpu"
    named = resolved("auto", SERVER, "hardware.threads=3", "hardware.empty_cache_every=5", "hardware.memory_margin=0.5")
    assert (named.threads, named.empty_cache_every, named.memory_margin) == (3, 5, 0.5)


def test_a_profile_falls_back_with_a_warning():
    turing = resolved("rtx", TURING)
    assert turing.precision == "32-true"
    assert any("RTX 2080" in line for line in turing.warnings)
    bare = resolved("datacenter", replace(SERVER, compiler=None))
    assert not bare.compile
    assert any("hardware.compile" in line for line in bare.warnings)
    assert any("hardware=jetson" in line for line in resolved("jetson", LAPTOP).warnings)
    half = resolved("auto", LAPTOP, "hardware.precision=16-mixed")
    assert half.precision == "32-true"
    assert half.warnings


@pytest.mark.parametrize(
    ("target", "overrides", "precision", "setting"),
    [
        (RTX, ["hardware.devices=2"], "32-true", "hardware.devices=2"),
        (LAPTOP, ["hardware.devices=2"], "32-true", "hardware.devices=2"),
        (LAPTOP, ["hardware.accelerator=gpu"], "32-true", "hardware.accelerator=gpu"),
        (RTX, ["hardware.accelerator=mps"], "32-true", "hardware.accelerator=mps"),
        (TURING, [], "bf16-mixed", "trainer.precision=bf16-mixed"),
        (LAPTOP, [], "16-mixed", "trainer.precision=16-mixed"),
        (BARE, ["hardware.compile=true"], "32-true", "hardware.compile=true"),
        (LAPTOP, ["hardware.pin_memory=true"], "32-true", "hardware.pin_memory=true"),
    ],
)
def test_a_setting_that_the_machine_lacks_is_rejected(target, overrides, precision, setting):
    with pytest.raises(ConfigError) as caught:
        resolve_profile(hardware("auto", *overrides), precision, explicit=True, machine=target)
    (problem,) = caught.value.problems
    assert problem.message.startswith(setting)


def test_invalid_settings_are_rejected(run):
    settings = ["hardware.threads=some", "hardware.micro_batch=0", "hardware.memory_margin=1"]
    result = run("train", *settings)
    assert (result.code, [line.partition(": ")[0] for line in result.lines]) == (2, settings)
    if not torch.cuda.is_available():
        result = run("train", "trainer.precision=16-mixed")
        assert (result.code, len(result.lines)) == (2, 1)
        assert result.lines[0].startswith("trainer.precision=16-mixed: ")


def fake(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_limits_of_control_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert machine.cores(tmp_path / "nothing")[0] == 16
    meminfo = {"proc/meminfo": "MemTotal: 16777216 kB\nMemFree: 1 kB\nMemAvailable: 8388608 kB\n"}
    two = fake(tmp_path / "v2", {
        **meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "250000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000",
        "sys/fs/cgroup/a/b/memory.max": str(2 * GIB), "sys/fs/cgroup/a/b/memory.current": str(GIB),
        "sys/fs/cgroup/a/b/memory.stat": f"anon 5\ninactive_file {GIB // 2}\n",
    })  # fmt: skip
    assert machine.cores(two)[0] == 3  # the outer group's limit holds for the inner one
    assert machine.available_memory(two) == GIB + GIB // 2
    one = fake(tmp_path / "v1", {
        **meminfo, "proc/self/cgroup": "3:cpu,cpuacct:/x\n2:memory:/docker/x\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000", "sys/fs/cgroup/memory/memory.limit_in_bytes": str(3 * GIB),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GIB), "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 0\n",
    })  # fmt: skip
    assert machine.cores(one)[0] == 1
    assert machine.available_memory(one) == 2 * GIB
    free = fake(tmp_path / "free", {
        **meminfo, "proc/self/cgroup": "4:memory:/\n1:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "5",
    })  # fmt: skip
    assert machine.cores(free)[0] == 16
    assert machine.available_memory(free) == 8 * GIB
    odd = fake(
        tmp_path / "odd",
        {"proc/self/cgroup": "0::/../..\nnonsense\n", "sys/fs/cgroup/cpu.max": "soon 0", "proc/meminfo": "?"},
    )
    assert machine.cores(odd)[0] == 16
    assert machine.available_memory(odd) == 0


def test_a_jetson_is_recognised_by_its_device_tree(tmp_path):
    tree = "proc/device-tree/"
    orin = fake(
        tmp_path / "orin",
        {
            tree + "model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            tree + "compatible": "nvidia,p3768\0nvidia,tegra234\0",
        },
    )
    assert machine.jetson_model(orin) == "NVIDIA Jetson Orin Nano Developer Kit"
    assert machine.jetson_model(fake(tmp_path / "pi", {tree + "model": "Raspberry Pi 5\0"})) is None
    assert machine.jetson_model(tmp_path) is None


def test_a_gpu_whose_query_fails_is_left_out():
    def properties(index: int):
        if index == 0:
            raise RuntimeError("CUDA error: unknown error")
        return SimpleNamespace(name="NVIDIA L4", major=8, minor=9, total_memory=GIB)

    cuda = SimpleNamespace(is_available=lambda: True, device_count=lambda: 2, get_device_properties=properties)
    assert machine.cuda_gpus(cuda) == (Gpu("NVIDIA L4", (8, 9), GIB),)
    broken = SimpleNamespace(is_available=lambda: 1 / 0)
    assert machine.cuda_gpus(broken) == ()


@pytest.mark.slow
def test_a_run_is_the_same_under_every_profile(run, table):
    if torch.cuda.is_available():
        pytest.skip("profiles round differently on a GPU")
    results = {}
    for profile in PROFILES:
        overrides = [
            *table_overrides(table),
            "model=mlp",
            "logger=none",
            f"hardware={profile}",
            f"run_dir={profile}",
            "trainer.max_epochs=1",
        ]
        precise = [] if profile in ("auto", "cpu") else ["trainer.precision=32-true"]
        result = run("train", *overrides, *precise)
        assert result.code == 0, result.err
        assert "Traceback" not in result.err
        finished = Run(Path(profile))
        results[profile] = (finished.identity.signature, finished.metrics["valid"]["log_loss"])
        assert finished.provenance["profile"]["threads"] >= 1
        assert "accelerator=cpu" in (finished.folder / "run.log").read_text()
    assert len(set(results.values())) == 1, results
    assert math.isfinite(results["auto"][1])
    result = run(
        "train",
        *table_overrides(table),
        "model=mlp",
        "logger=none",
        "hardware=rtx",
        "run_dir=half",
        "trainer.max_epochs=1",
    )
    assert result.code == 0, result.err
    assert Run(Path("half")).config["trainer"]["precision"] == "bf16-mixed"
    assert Run(Path("half")).identity.signature != results["auto"][0]
