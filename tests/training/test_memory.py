"""Batches that do not fit in memory: the micro-batch is measured in advance, and halved after an out-of-memory error."""

from __future__ import annotations

import gc
import json
import mmap
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from musicreclass.runs.folder import Run
from musicreclass.storage.damage import is_out_of_memory
from musicreclass.training import callbacks
from musicreclass.training.callbacks import even_micro_batch
from musicreclass.training.memory import MicroBatches, StepState
from musicreclass.training.memory_probe import CudaMeter, Meter, RamMeter, SizeSearch
from musicreclass.training.module import GenreModule
from tests.conftest import table_overrides
from tests.library import SMALL

OVERRIDES = ["model=mlp", "hardware=cpu", "logger=none", "trainer.max_epochs=3", "trainer.batch_size=16"]


class FakeMeter(Meter):
    """Memory given by a formula; steps beyond it fail, as real ones do."""

    def __init__(self, need, free: int, fails_at: int | None = None) -> None:
        self.need, self.free_bytes, self.fails_at, self.tried = need, free, fails_at or free, []

    def free(self) -> int:
        return self.free_bytes

    def step(self, size: int) -> None:
        self.tried.append(size)
        if self.need(size) > self.fails_at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def peak(self, step) -> int:
        step()
        return self.need(self.tried[-1])


def search(need, free: int, limit: int = 4096, margin: float = 0.1, **options) -> tuple[int, FakeMeter]:
    meter = FakeMeter(need, free, **options)
    return SizeSearch(meter.step, meter, limit, margin).largest().size, meter


@pytest.mark.parametrize(
    ("need", "free"),
    [
        (lambda n: 1000 + 10 * n, 10_000),
        (lambda n: 1000 + 10 * n + 0.01 * n * n, 10_000),  # not linear
        (lambda n: 500 * -(-(1000 + 10 * n) // 500), 10_000),  # an allocator of large blocks
        (lambda n: 1000 + (10 if n < 100 else 14) * n, 10_000),  # another algorithm for large sizes
    ],
)
def test_search_finds_nearly_all_that_fits(need, free):
    size, meter = search(need, free)
    best = max(n for n in range(1, 4096) if need(n) <= 0.9 * free)
    assert 0.9 * best <= size <= best
    assert size in meter.tried  # verified, not only estimated
    assert len(meter.tried) <= 9


def test_search_when_steps_fail_below_the_reported_free_memory():
    size, _ = search(lambda n: 1000 + 10 * n, 10_000, fails_at=5000)
    assert 300 <= size <= 400


def test_search_never_exceeds_its_limit():
    assert search(lambda n: 10 * n, 10_000, limit=64)[0] == 64
    assert search(lambda n: 0, 10_000, limit=64)[0] == 64
    assert search(lambda n: 10 * n, 10_000, limit=1)[0] == 1
    assert search(lambda n: 6000 * n, 10_000, limit=64)[0] == 1
    with pytest.raises(MemoryError):
        search(lambda n: 20_000 * n, 10_000)


def test_micro_batches_have_nearly_equal_size():
    assert [even_micro_batch(64, n) for n in (64, 100, 63, 24, 9, 1)] == [None, None, 32, 22, 8, 1]
    for batch_size in (1, 7, 64, 100):
        for limit in range(1, batch_size):
            size = even_micro_batch(batch_size, limit)
            assert size is not None
            assert size <= limit
            assert -(-batch_size // size) == -(-batch_size // limit)


def test_ram_meter_measures_resident_memory():
    gc.collect()
    meter = RamMeter()

    def step() -> None:
        with mmap.mmap(
            -1, 256 * 2**20
        ) as pages:  # of the kernel: an allocator would use again what earlier tests have freed
            for start in range(0, len(pages), mmap.PAGESIZE):
                pages[start] = 1
            time.sleep(0.5)  # so that it is sampled on a busy machine too

    need = meter.peak(step)
    assert 250 * 2**20 <= need <= 290 * 2**20
    assert meter.free() > 0
    assert RamMeter(Path("/nowhere")).free() == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes. Error code 12"),
            True,
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("NvMapMemAllocInternalTagged: 1075072515 error 12"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_errors_are_recognised(error, expected):
    assert is_out_of_memory(error) is expected
    batches = MicroBatches()
    tried = []

    def step(size: int) -> int:
        tried.append(size)
        if size > 5:
            raise error
        return size

    if expected:
        assert batches.run(20, step, lambda: None) == 5
        assert (tried, batches.size) == ([20, 10, 5], 5)
    else:
        with pytest.raises(type(error)):
            batches.run(20, step, lambda: None)
    with pytest.raises(type(error)):
        MicroBatches().run(1, lambda size: step(99), lambda: None)


def test_a_failed_forward_pass_leaves_no_trace():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    x = torch.randn(6, 3)
    state = StepState(network)
    output = network(x)
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    state.restore()
    assert int(network[1].num_batches_tracked) == 0
    assert torch.equal(network(x), output)  # the same dropout masks
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def record_forward_passes(monkeypatch, fail_steps: set[int], limit: int) -> list[int]:
    """Record the size of each forward pass; in `fail_steps`, passes of more than `limit` tracks run out of memory."""
    accumulate, forward, state = GenreModule.accumulate_gradients, GenreModule.forward_loss, {"step": -1}
    sizes: list[int] = []

    def accumulate_gradients(self, *args):
        state["step"] += 1
        return accumulate(self, *args)

    def forward_loss(self, x, target, keys):
        result = forward(self, x, target, keys)
        sizes.append(len(x))
        if state["step"] in fail_steps and len(x) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return result

    monkeypatch.setattr(GenreModule, "accumulate_gradients", accumulate_gradients)
    monkeypatch.setattr(GenreModule, "forward_loss", forward_loss)
    return sizes


def interrupt_after_epoch(monkeypatch, epoch: int) -> None:
    original = GenreModule.on_train_epoch_end

    def on_train_epoch_end(self):
        original(self)
        if self.current_epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(GenreModule, "on_train_epoch_end", on_train_epoch_end)


def test_out_of_memory_during_an_epoch_changes_no_result(run, table, monkeypatch):
    overrides = [*table_overrides(table), *OVERRIDES, "model.dropout=0.0", "optimizer=sgd"]
    assert run("train", *overrides, "hardware.micro_batch=4", "run_dir=small").code == 0
    with monkeypatch.context() as patched:
        sizes = record_forward_passes(patched, fail_steps={5, 6}, limit=4)
        assert run("train", *overrides, "hardware.micro_batch=16", "run_dir=halved").code == 0
    small, halved = Run(Path("small")), Run(Path("halved"))
    train = small.provenance["tracks"]["train"]
    assert sum(sizes) == 3 * train + 16 + 8  # three epochs, and two failed attempts
    assert halved.identity.micro_batch == 4
    assert halved.identity.micro_batch_setting == 16
    for name in ("log_loss", "accuracy", "macro_f1"):
        assert abs(small.metrics["valid"][name] - halved.metrics["valid"][name]) < 1e-6
    values = [
        [list(map(float, line.split(","))) for line in (done.folder / "history.csv").read_text().splitlines()[1:]]
        for done in (halved, small)
    ]
    assert torch.allclose(*map(torch.tensor, values), atol=1e-5)
    assert "out of memory" in (halved.folder / "run.log").read_text()


def test_a_resumed_run_uses_the_lowered_micro_batch(run, table, monkeypatch):
    overrides = [*table_overrides(table), *OVERRIDES, "hardware.micro_batch=16", "run_dir=r"]
    with monkeypatch.context() as patched:
        interrupt_after_epoch(patched, 1)
        record_forward_passes(patched, fail_steps={1}, limit=8)
        assert run("train", *overrides).code == 130
    assert Run(Path("r")).identity.micro_batch == 8
    sizes = record_forward_passes(monkeypatch, fail_steps=set(), limit=0)
    result = run("train", *overrides)
    assert result.code == 0
    assert sum(sizes) == 2 * Run(Path("r")).provenance["tracks"]["train"]  # the first of three epochs was resumed
    assert max(sizes) == 8
    assert Run(Path("r")).identity.micro_batch == 8


def test_a_run_uses_its_measured_micro_batch_throughout(run, table, monkeypatch):
    overrides = [*table_overrides(table), *OVERRIDES, "run_dir=r", "force=false"]
    meters: list[Meter] = []

    class PerTrackMeter(Meter):
        """1,000 bytes for each track of a forward pass, of 10,000."""

        def __init__(self, device, unified=False) -> None:
            meters.append(self)

        def free(self) -> int:
            return 10_000

        def peak(self, step) -> int:
            sizes.clear()
            step()
            return 1000 * sizes[-1]

    sizes = record_forward_passes(monkeypatch, fail_steps=set(), limit=0)
    monkeypatch.setattr(callbacks, "make_meter", PerTrackMeter)
    with monkeypatch.context() as patched:
        interrupt_after_epoch(patched, 0)
        assert run("train", *overrides).code == 130
    # 7 tracks fit in three quarters of 10,000 bytes, so 16 are split into 6, 6 and 4.
    assert Run(Path("r")).identity.micro_batch == 6
    assert run("train", *overrides).code == 0
    assert len(meters) == 1
    done = Run(Path("r"))
    assert done.identity.micro_batch == 6
    assert done.provenance["model"]["micro_batch"]["size"] == 6
    assert json.loads((Path("r") / "identity.json").read_text())["micro_batch_setting"] == "auto"


def test_measuring_leaves_no_trace(run, table, monkeypatch):
    overrides = [*table_overrides(table), *OVERRIDES]  # with dropout
    results = []
    for name, size in (("measured", "auto"), ("full", "null")):
        assert run("train", *overrides, f"hardware.micro_batch={size}", f"run_dir={name}").code == 0
        results.append(Run(Path(name)).predictions("valid").probabilities())
    assert (results[0] == results[1]).all()
    assert Run(Path("measured")).provenance["model"]["micro_batch"]["measured"]["size"] == 16


def test_cuda_meter_measures_reserved_memory(tmp_path, monkeypatch):
    mebibytes, mib = {"reserved": 300, "peak": 0}, 2**20
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: mebibytes["reserved"] * mib)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: mebibytes["peak"] * mib)
    monkeypatch.setattr(
        torch.cuda, "reset_peak_memory_stats", lambda device: mebibytes.update(peak=mebibytes["reserved"])
    )
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5000 * mib, 8000 * mib))
    fraction = {"of this process": 1.0}
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: fraction["of this process"])
    meter = CudaMeter(torch.device("cuda"))
    assert meter.peak(lambda: mebibytes.update(peak=700)) == 400 * mib
    mebibytes["reserved"] = 500  # optimizer states remain
    assert meter.free() == 5200 * mib
    fraction["of this process"] = 0.25  # hardware.gpu_share
    assert meter.free() == (2000 - 300) * mib
    fraction["of this process"] = 1.0
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {8 << 20} kB\nMemAvailable: {6000 << 10} kB\n")
    mebibytes["reserved"] = 300
    unified = CudaMeter(torch.device("cuda"), unified=True, root=tmp_path)
    assert unified.free() == 6000 * mib  # the system can reclaim its file cache


@pytest.mark.slow
def test_batch_statistics_and_augmentation_after_an_out_of_memory_error(library, run, monkeypatch):
    """Running statistics are updated as often as in a run with that micro-batch from the start."""
    overrides = [
        "data=folder",
        f"data.root={library}",
        *SMALL,
        "model.dropout=0.0",
        "augmentation=spectrogram",
        "trainer.max_epochs=2",
    ]
    assert run("train", *overrides, "hardware.micro_batch=4", "run_dir=small").code == 0
    with monkeypatch.context() as patched:
        record_forward_passes(patched, fail_steps={0}, limit=4)
        assert run("train", *overrides, "hardware.micro_batch=8", "run_dir=halved").code == 0
    small, halved = (torch.load(Path(name) / "model" / "weights.pt", weights_only=True) for name in ("small", "halved"))
    assert any("num_batches_tracked" in name for name in small)
    for name, value in small.items():
        assert torch.allclose(value, halved[name], atol=1e-6), name
    assert Run(Path("halved")).provenance["model"]["micro_batch"] == {
        "size": 4,
        "batch_statistics": True,
        "measured": None,
    }
    assert "micro-batches of 4 tracks" in " ".join(run("compare", "small").out.split())


def test_an_optimizer_that_runs_out_of_memory_ends_the_run(run, table, monkeypatch):
    def step(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    overrides = [*table_overrides(table), *OVERRIDES, "optimizer=sgd"]
    result = run("train", *overrides, "hardware.micro_batch=null", "run_dir=r")
    assert result.code == 1
    assert "OutOfMemoryError: trainer.batch_size=" in result.err
    assert Run(Path("r")).state == "failed"
    result = run("train", *overrides, "hardware.micro_batch=auto", "run_dir=q")
    assert result.code == 2  # detected by the measurement, before training
    assert [(problem.kind, problem.key) for problem in result.problems] == [("out_of_memory", "trainer.batch_size")]
