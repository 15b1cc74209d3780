"""Batches that are too large for the memory: measured ahead, halved where that went wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from musicreclass.runs.folder import Run
from musicreclass.training import callbacks
from musicreclass.training.callbacks import even
from musicreclass.training.memory import MicroBatches, StepState, is_out_of_memory
from musicreclass.training.memory_probe import Meter, RamMeter, largest
from musicreclass.training.module import GenreModule
from tests.conftest import table_overrides
from tests.library import SMALL


class Made(Meter):
    """Memory as a formula; more than there is raises an error, as the real one does."""

    def __init__(self, need, free: int, breaks_at: int | None = None) -> None:
        self.need, self.have, self.breaks_at, self.tried = need, free, breaks_at or free, []

    def free(self) -> int:
        return self.have

    def step(self, size: int) -> None:
        self.tried.append(size)
        if self.need(size) > self.breaks_at:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def peak(self, step) -> int:
        step()
        return self.need(self.tried[-1])


def found(need, free: int, most: int = 4096, margin: float = 0.1, **more) -> tuple[int, Made]:
    gauge = Made(need, free, **more)
    return largest(gauge.step, gauge, most, margin).size, gauge


@pytest.mark.parametrize(
    ("need", "free"),
    [
        (lambda n: 1000 + 10 * n, 10_000),
        (lambda n: 1000 + 10 * n + 0.01 * n * n, 10_000),  # it bends
        (lambda n: 500 * -(-(1000 + 10 * n) // 500), 10_000),  # an allocator that takes whole blocks
        (lambda n: 1000 + (10 if n < 100 else 14) * n, 10_000),  # another algorithm for large sizes
    ],
)
def test_nearly_all_that_fits_is_found(need, free):
    size, gauge = found(need, free)
    best = max(n for n in range(1, 4096) if need(n) <= 0.9 * free)
    assert 0.9 * best <= size <= best
    assert size in gauge.tried  # it was run, not only reckoned
    assert len(gauge.tried) <= 9


def test_memory_that_ends_sooner_than_was_said():
    size, _ = found(lambda n: 1000 + 10 * n, 10_000, breaks_at=5000)
    assert 300 <= size <= 400


def test_the_batch_is_the_most():
    assert found(lambda n: 10 * n, 10_000, most=64)[0] == 64
    assert found(lambda n: 0, 10_000, most=64)[0] == 64
    assert found(lambda n: 10 * n, 10_000, most=1)[0] == 1
    assert found(lambda n: 6000 * n, 10_000, most=64)[0] == 1
    with pytest.raises(MemoryError, match="not even one track"):
        found(lambda n: 20_000 * n, 10_000)


def test_parts_are_of_nearly_one_size():
    assert [even(64, n) for n in (64, 100, 63, 24, 9, 1)] == [None, None, 32, 22, 8, 1]
    for whole in (1, 7, 64, 100):
        for fits in range(1, whole):
            size = even(whole, fits)
            assert size is not None
            assert size <= fits
            assert -(-whole // size) == -(-whole // fits)


def test_ram_is_measured_by_what_the_process_holds():
    gauge = RamMeter()
    need = gauge.peak(lambda: torch.ones(64 * 2**18).sum())
    assert 60 * 2**20 <= need <= 90 * 2**20
    assert gauge.free() > 0
    assert RamMeter(Path("/nowhere")).free() == 0


@pytest.mark.parametrize(
    ("error", "is_one"),
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
def test_errors_that_speak_of_memory(error, is_one):
    assert is_out_of_memory(error) is is_one
    batches = MicroBatches()
    done = []

    def work(size: int) -> int:
        done.append(size)
        if size > 5:
            raise error
        return size

    if is_one:
        assert batches.attempt(20, work, lambda: None) == 5
        assert (done, batches.size) == ([20, 10, 5], 5)
    else:
        with pytest.raises(type(error)):
            batches.attempt(20, work, lambda: None)
    with pytest.raises(type(error)):
        MicroBatches().attempt(1, lambda size: work(99), lambda: None)


def test_a_failed_pass_leaves_no_trace():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    x = torch.randn(6, 3)
    state = StepState(network)
    once = network(x)
    after = {name: value.clone() for name, value in network.state_dict().items()}
    state.restore()
    assert int(network[1].num_batches_tracked) == 0
    assert torch.equal(network(x), once)  # the same dropout masks
    assert all(torch.equal(value, after[name]) for name, value in network.state_dict().items())


def fails(monkeypatch, at: set[int], over: int) -> list[int]:
    """Forward passes of more than `over` tracks fail in these training steps; the sizes of all passes."""
    real_step, real_pass, state = GenreModule.gradients, GenreModule.forward_loss, {"step": -1}
    sizes: list[int] = []

    def gradients(self, *args):
        state["step"] += 1
        return real_step(self, *args)

    def forward_loss(self, x, target, keys):
        out = real_pass(self, x, target, keys)
        sizes.append(len(x))
        if state["step"] in at and len(x) > over:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return out

    monkeypatch.setattr(GenreModule, "gradients", gradients)
    monkeypatch.setattr(GenreModule, "forward_loss", forward_loss)
    return sizes


WORDS = ["model=mlp", "hardware=cpu", "logger=none", "trainer.max_epochs=3", "trainer.batch_size=16"]


def test_out_of_memory_in_the_middle_of_an_epoch_changes_nothing(run, table, monkeypatch):
    words = [*table_overrides(table), *WORDS, "model.dropout=0.0", "optimizer=sgd"]
    assert run("train", *words, "hardware.micro_batch=4", "run_dir=small").code == 0
    with monkeypatch.context() as patched:
        sizes = fails(patched, at={5, 6}, over=4)
        assert run("train", *words, "hardware.micro_batch=16", "run_dir=halved").code == 0
    small, halved = Run(Path("small")), Run(Path("halved"))
    train = small.provenance["tracks"]["train"]
    assert sum(sizes) == 3 * train + 16 + 8  # every track three times, and the two attempts that failed
    assert halved.identity["micro_batch"] == 4
    assert halved.identity["micro_batch_asked"] == 16
    for name in ("log_loss", "accuracy", "macro_f1"):
        assert abs(small.metrics["valid"][name] - halved.metrics["valid"][name]) < 1e-6
    history = [(halved.folder / "history.csv"), (small.folder / "history.csv")]
    ours, theirs = (
        [list(map(float, line.split(","))) for line in file.read_text().splitlines()[1:]] for file in history
    )
    assert torch.allclose(torch.tensor(ours), torch.tensor(theirs), atol=1e-5)
    assert "out of memory with 16 tracks at once, on with 8" in (halved.folder / "run.log").read_text()


def test_a_lowered_micro_batch_is_gone_on_with(run, table, monkeypatch):
    words = [*table_overrides(table), *WORDS, "hardware.micro_batch=16", "run_dir=r"]
    real = GenreModule.on_train_epoch_end

    def stop(self):
        real(self)
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(GenreModule, "on_train_epoch_end", stop)
        fails(patched, at={1}, over=8)
        assert run("train", *words).code == 130
    assert Run(Path("r")).identity["micro_batch"] == 8
    sizes = fails(monkeypatch, at=set(), over=0)
    result = run("train", *words)
    assert result.code == 0
    assert "starts over" not in result.err
    assert max(sizes) == 8
    assert Run(Path("r")).identity["micro_batch"] == 8


def test_a_measured_micro_batch_is_kept_for_the_whole_run(run, table, monkeypatch):
    words = [*table_overrides(table), *WORDS, "run_dir=r", "force=false"]
    gauges: list[Counted] = []

    class Counted(Meter):
        """A thousand bytes for each track that the network sees, of ten thousand."""

        def __init__(self, device, unified=False) -> None:
            gauges.append(self)

        def free(self) -> int:
            return 10_000

        def peak(self, step) -> int:
            sizes.clear()
            step()
            return 1000 * sizes[-1]

    sizes = fails(monkeypatch, at=set(), over=0)
    monkeypatch.setattr(callbacks, "meter", Counted)
    real_end = GenreModule.on_train_epoch_end

    def stop(self):
        real_end(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(GenreModule, "on_train_epoch_end", stop)
        assert run("train", *words).code == 130
    assert (
        Run(Path("r")).identity["micro_batch"] == 6
    )  # 7 fit in three quarters of 10,000: 16 tracks in parts of 6, 6 and 4
    assert run("train", *words).code == 0
    assert len(gauges) == 1  # not measured again
    done = Run(Path("r"))
    assert done.identity["micro_batch"] == 6
    assert done.provenance["model"]["micro_batch"]["size"] == 6
    assert json.loads((Path("r") / "identity.json").read_text())["micro_batch_asked"] == "auto"


def test_measuring_leaves_no_trace(run, table, monkeypatch):
    words = [*table_overrides(table), *WORDS]  # with dropout
    results = []
    for name, size in (("measured", "auto"), ("whole", "null")):
        assert run("train", *words, f"hardware.micro_batch={size}", f"run_dir={name}").code == 0
        results.append(Run(Path(name)).predictions("valid").probabilities())
    assert (results[0] == results[1]).all()
    assert Run(Path("measured")).provenance["model"]["micro_batch"]["measured"]["size"] == 16


def test_a_gpu_is_measured_by_what_its_allocator_holds(tmp_path, monkeypatch):
    from musicreclass.training.memory_probe import CudaMeter

    held, mib = {"reserved": 300, "peak": 0}, 2**20
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: held["reserved"] * mib)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda device: held["peak"] * mib)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: held.update(peak=held["reserved"]))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5000 * mib, 8000 * mib))
    gauge = CudaMeter(torch.device("cuda"))
    assert gauge.peak(lambda: held.update(peak=700)) == 400 * mib
    held["reserved"] = 500  # an optimizer's states stay
    assert gauge.free() == 5200 * mib
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {8 << 20} kB\nMemAvailable: {6000 << 10} kB\n")
    held["reserved"] = 300
    assert (
        CudaMeter(torch.device("cuda"), unified=True, root=tmp_path).free() == 6000 * mib
    )  # the system frees its file cache


def test_audio_with_batch_statistics_and_augmentation(library, run, monkeypatch):
    """Running statistics move once for each part that counts: as many times as in a run at that micro-batch from the start."""
    words = [
        "data=folder",
        f"data.root={library}",
        *SMALL,
        "model.dropout=0.0",
        "augmentation=spectrogram",
        "trainer.max_epochs=2",
    ]
    assert run("train", *words, "hardware.micro_batch=4", "run_dir=small").code == 0
    with monkeypatch.context() as patched:
        fails(patched, at={0}, over=4)
        assert run("train", *words, "hardware.micro_batch=8", "run_dir=halved").code == 0
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
    result = run("train", *table_overrides(table), *WORDS, "optimizer=sgd", "hardware.micro_batch=null", "run_dir=r")
    assert result.code == 1
    assert "OutOfMemoryError: CUDA out of memory" in result.err
    assert Run(Path("r")).state == "failed"
    again = run("train", *table_overrides(table), *WORDS, "optimizer=sgd", "hardware.micro_batch=auto", "run_dir=q")
    assert again.code == 2  # it is found out ahead of training
    assert again.lines[0].startswith("trainer.batch_size=16: a training step is too much for the memory here")
