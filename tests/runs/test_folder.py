"""Runs as things one can rely on: found again, kept apart, stopped and gone on with, safe to read."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from musicreclass.config.check import compose
from musicreclass.errors import RunError
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import signature
from tests.conftest import make_frame, powerless, sum_again, table_overrides

LONG = ["trainer.max_epochs=60", "early_stopping=none", "hardware=cpu", "hardware.threads=1", "logger=none"]


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "musicreclass", "train", *map(str, words)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def wait_for(what: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def epochs(folder: Path) -> int:
    history = folder / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def same_predictions(one: Path, two: Path) -> None:
    a, b = (pd.read_parquet(folder / "predictions" / "valid.parquet") for folder in (one, two))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.mark.slow
def test_killed_at_three_random_moments(run, table, here):
    words = [*table_overrides(table), *LONG]
    assert run("train", *words, "run_dir=whole").code == 0
    for turn in range(3):
        process = start(*words, "run_dir=killed")
        wait_for(lambda turn=turn: epochs(here / "killed") > 15 * turn)
        time.sleep(random.random() / 10)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert run("train", *words, "run_dir=killed").code == 0
    assert epochs(here / "killed") == 60
    same_predictions(here / "killed", here / "whole")


@pytest.mark.parametrize(
    ("number", "code", "by"),
    [(signal.SIGTERM, 143, "SIGTERM"), pytest.param(signal.SIGINT, 130, "the user", marks=pytest.mark.slow)],
)
def test_a_stopped_run_says_how_to_go_on_and_does(number, code, by, run, table, here):
    words = [*table_overrides(table), *LONG, "trainer.max_epochs=200", "run_dir=r"]
    process = start(*words)
    wait_for(lambda: epochs(here / "r") > 3)
    process.send_signal(number)
    _, err = process.communicate()
    assert (process.returncode, err) == (
        code,
        "musicreclass: stopped; the same command resumes from the last checkpoint\n",
    )
    status = Run.open(here / "r").status
    assert (status["state"], status["error"]) == ("interrupted", f"stopped by {by}")
    done = epochs(here / "r")
    assert not (here / "r" / ".lock").exists()
    words[words.index("trainer.max_epochs=200")] = f"trainer.max_epochs={done + 3}"
    assert run("train", *words).code == 2  # that is another run
    process = start(*table_overrides(table), *LONG, "trainer.max_epochs=200", "run_dir=r")
    wait_for(lambda: epochs(here / "r") > done)  # not from the start
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_killed_multirun_started_again_leaves_what_is_finished_alone(table, here):
    words = ["-m", *table_overrides(table), *LONG, "trainer.max_epochs=10", "model=mlp", "seed=range(0,12)"]
    process = start(*words)
    done = lambda: {f.parent for f in (here / "outputs").glob("table-*/status.json") if '"done"' in f.read_text()}  # noqa: E731
    wait_for(lambda: len(done()) >= 4)
    process.kill()
    process.communicate()
    finished = done()
    before = {f: f.stat().st_mtime_ns for folder in finished for f in folder.rglob("*")}
    assert 4 <= len(finished) < 12
    again = subprocess.run(
        [sys.executable, "-m", "musicreclass", "train", *words], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert len(done()) == 12
    assert {f: f.stat().st_mtime_ns for folder in finished for f in folder.rglob("*")} == before


@pytest.mark.slow
def test_ten_processes_with_one_command_train_one_run(table, here):
    words = [*table_overrides(table), "model=logreg", "hardware.threads=1"]
    processes = [start(*words) for _ in range(10)]
    told = [p.communicate() for p in processes]
    assert [p.returncode for p in processes] == [0] * 10, told
    (folder,) = (here / "outputs").glob("table-*")
    assert len({next(line for line in out.splitlines() if line.startswith("valid")) for out, _ in told}) == 1
    assert (folder / "run.log").read_text().count("command:") == 1


@pytest.mark.slow
def test_a_busy_run_can_be_an_error(table, here):
    words = [*table_overrides(table), *LONG, "trainer.max_epochs=2000", "run_dir=r"]
    first = start(*words)
    wait_for(lambda: epochs(here / "r") > 0)
    second = start(*words, "if_locked=error")
    _, err = second.communicate()
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert err.startswith("musicreclass: r: busy: process ")
    assert len(err.splitlines()) == 1


def test_what_changes_a_signature_and_what_does_not(here):
    def signed(*words: str, data: str = "abc") -> str:
        from omegaconf import OmegaConf

        return signature(OmegaConf.to_container(compose("train", list(words)), resolve=True), data)  # type: ignore[arg-type]

    base = signed()
    for same in ("hardware=cpu", "logger=none", "hardware.threads=1", "evaluate=[valid,test]", "force=true", "run_dir=x",
                 "paths.cache=x", "if_locked=error", "data.root=/elsewhere"):  # fmt: skip
        assert signed(same) == base, same
    others = [signed(word) for word in ("seed=1", "model=logreg", "model.dropout=0.1", "trainer.batch_size=32", "optimizer.lr=0.1",
              "scheduler=cosine", "early_stopping.min_delta=0.1", "class_weight=balanced", "data.on_missing=drop")]  # fmt: skip
    assert len({base, signed(data="abd"), *others}) == len(others) + 2


def test_a_signature_is_what_it_was(here):
    """Fails when a key with a default joins what is signed: then old runs would be found no more. Add such a key elsewhere."""
    from omegaconf import OmegaConf

    config = OmegaConf.to_container(compose("train", ["data=table", "data.path=x.csv", "model=xgboost"]), resolve=True)
    assert signature(config, "abc") == "bf470ec9a2a0"  # type: ignore[arg-type]


class Payload:
    """A pickle that writes a file when it is loaded."""

    def __reduce__(self):
        return (Path("owned").touch, ())


def test_crafted_checkpoints_execute_nothing(run, table, here):
    words = [*table_overrides(table), *LONG, "trainer.max_epochs=4", "run_dir=r"]
    assert run("train", *words).code == 0
    whole = pd.read_parquet(here / "r" / "predictions" / "valid.parquet")
    for name in ("last.ckpt", "best.ckpt"):
        status = here / "r" / "status.json"
        status.write_text(json.dumps({**json.loads(status.read_text()), "state": "interrupted"}))
        torch.save({"callbacks": {}, "payload": Payload()}, here / "r" / "checkpoints" / name)
        assert run("train", *words).code == 0
        assert "the run starts over" in (here / "r" / "run.log").read_text()
        pd.testing.assert_frame_equal(
            pd.read_parquet(here / "r" / "predictions" / "valid.parquet"), whole, check_exact=True
        )
    words = [*table_overrides(table), "model=xgboost", "model.n_estimators=5", "run_dir=x"]
    assert run("train", *words).code == 0
    for crafted in (pickle.dumps(Payload()), b"{}", b""):
        status = here / "x" / "status.json"
        status.write_text(json.dumps({**json.loads(status.read_text()), "state": "interrupted"}))
        (here / "x" / "checkpoints" / "rounds.bin").write_bytes(crafted)
        assert run("train", *words).code == 0
    assert not Path("owned").exists()


def test_crafted_run_folders_execute_nothing_and_are_refused(run, table, here):
    assert run("train", *table_overrides(table), "model=logreg", "run_dir=r").code == 0
    honest = {f: f.read_bytes() for f in (here / "r").rglob("*") if f.is_file()}
    config, skops, table_file = (
        here / "r" / name for name in ("config.yaml", "model/pipeline.skops", "predictions/valid.parquet")
    )

    def foreign_skops() -> None:
        with zipfile.ZipFile(skops, "w") as archive:
            node = {
                "__class__": "system",
                "__module__": "os",
                "__loader__": "FunctionNode",
                "content": {"module_path": "os", "function": "system"},
                "__id__": 1,
            }
            archive.writestr("schema.json", json.dumps({**node, "protocol": 2, "_skops_version": "0.16"}))

    crafts: list[tuple[Callable[[], object], list[str]]] = [
        (lambda: config.write_text("!!python/object/apply:pathlib.Path.touch [owned]\n"), ["evaluate", "r"]),
        (lambda: config.write_text(honest[config].decode() + "\nx: !!python/object/apply:os.system ['touch owned']\n"), ["evaluate", "r"]),
        (lambda: config.write_text(honest[config].decode().replace("musicreclass.data.sources.table_file.TableFile", "os.system")), ["evaluate", "r"]),
        (lambda: skops.write_bytes(pickle.dumps(Payload())), ["evaluate", "r"]),
        (foreign_skops, ["evaluate", "r"]),
    ]  # fmt: skip
    for craft, words in crafts:
        craft()
        sum_again(here / "r" / "model")
        result = run(*words)
        assert (result.code, len(result.lines)) == (2, 1), (result.err, result.out)
        for file, content in honest.items():
            file.write_bytes(content)
    table_file.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(RunError):
        Run.open(here / "r").predictions("valid")
    assert not Path("owned").exists()


def test_a_link_out_of_a_run_folder_is_not_followed_when_it_is_cleared(run, table, here):
    (here / "precious").mkdir()
    (here / "precious" / "file").write_text("mine")
    words = [*table_overrides(table), "model=logreg", "run_dir=r"]
    assert run("train", *words).code == 0
    for name in ("checkpoints", "tensorboard"):
        if (here / "r" / name).is_dir():
            for file in (here / "r" / name).iterdir():
                file.unlink()
            (here / "r" / name).rmdir()
        (here / "r" / name).symlink_to(here / "precious")
    assert run("train", *words, "force=true").code == 0
    assert (here / "precious" / "file").read_text() == "mine"


def test_a_git_lfs_pointer_is_called_one(run, table, here):
    assert run("train", *table_overrides(table), "run_dir=r").code == 0
    (here / "r" / "model" / "weights.pt").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    )
    result = run("evaluate", "r")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "weights.pt: a Git LFS pointer, not the file itself; fetch it with git lfs pull" in result.lines[0]


def test_read_only_outputs(run, table, here):
    (here / "outputs").mkdir(mode=0o555)
    result = powerless(lambda: run("train", *table_overrides(table), "model=logreg"))
    assert (result.code, len(result.lines)) == (2, 1)
    assert "cannot be written" in result.lines[0]


def test_long_and_foreign_names(run, table, here):
    name = "музыка-🎵-" + "é" * 80
    assert run("train", *table_overrides(table), "model=logreg", f'run_dir="{name}"').code == 0
    assert run("compare", name).code == 0
    result = run("train", *table_overrides(table), "model=logreg", f"run_dir={'x' * 300}")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "name too long" in result.lines[0].lower()
    frame = make_frame()
    frame["label"] = frame["label"].map({"blues": "Блюз", "jazz": "ジャズ", "rock": "a/b ro$ck"})
    path = here / "песни.csv"
    frame.to_csv(path, index=False)
    assert run("train", "data=table", f'data.path="{path}"', "model=logreg", "run_dir=n").code == 0
    assert sorted(Run.open(here / "n").metrics["classes"]) == ["a/b ro$ck", "Блюз", "ジャズ"]


def test_clocks_that_jump(run, table, here, monkeypatch):
    words = [*table_overrides(table), *LONG, "trainer.max_epochs=6", "run_dir=r"]
    real, jumps = time.time, iter(np.resize([0.0, 1e9, -1e9], 100_000))
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    assert run("train", *words).code == 0
    assert run("train", *words).out.count("found finished") == 1
    lock = here / "r" / ".lock"  # of a dead process, from the future
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}))
    os.utime(lock, (real() + 1e8, real() + 1e8))
    assert run("compare", "r").code == 0
