"""Run folders: found by their signature, locked, stopped and resumed, safe to read."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from musicreclass.cli.messages import show_notices
from musicreclass.errors import RunError
from musicreclass.runs.files import FORMAT, RunFiles
from musicreclass.runs.find import find_runs
from musicreclass.runs.folder import Run
from musicreclass.runs.identity import Identity
from musicreclass.runs.signature import signature
from musicreclass.storage.atomic import write_json
from musicreclass.storage.locks import Lock, LockLostError, locked
from musicreclass.version import __version__
from tests.conftest import make_frame, powerless, quick, settings_for, sum_again, table_overrides, wait_until
from tests.failpoints import Failpoint

LONG = ["trainer.max_epochs=60", "early_stopping=none", "hardware=cpu", "hardware.threads=1", "logger=none"]


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "musicreclass", "train", *map(str, arguments)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


HANGS = """
import signal, sys, time
from pathlib import Path
from musicreclass.cli import main as cli
from musicreclass.training.module import GenreModule

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if the tests run in the background of a shell

training_step = GenreModule.training_step

def hang(self, batch, batch_idx):
    if self.current_epoch == int(sys.argv[1]):
        Path("hangs").touch()
        time.sleep(10_000)
    training_step(self, batch, batch_idx)

GenreModule.training_step = hang
sys.exit(cli.main(["train", *sys.argv[2:]]))
"""


def hanging_at(epoch: int, *arguments: object) -> subprocess.Popen[str]:
    """A process that trains up to an epoch, makes the file `hangs` and waits for a signal."""
    return subprocess.Popen([sys.executable, "-c", HANGS, *map(str, (epoch, *arguments))], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def epochs(folder: Path) -> int:
    history = folder / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def assert_same_predictions(one: Path, two: Path) -> None:
    a, b = (pd.read_parquet(folder / "predictions" / "valid.parquet") for folder in (one, two))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


@pytest.mark.slow
def test_killed_at_three_random_moments(run, table, here):
    arguments = [*table_overrides(table), *LONG]
    assert run("train", *arguments, "run_dir=complete").code == 0
    for attempt in range(3):
        process = start(*arguments, "run_dir=killed")
        wait_until(lambda attempt=attempt: epochs(here / "killed") > 15 * attempt)
        time.sleep(random.random() / 10)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert run("train", *arguments, "run_dir=killed").code == 0
    assert epochs(here / "killed") == 60
    assert_same_predictions(here / "killed", here / "complete")


@pytest.mark.parametrize(("signal_number", "code", "sender", "epoch"), [
    (signal.SIGTERM, 143, "SIGTERM", 5),
    pytest.param(signal.SIGHUP, 129, "SIGHUP", 5, marks=pytest.mark.slow),
    pytest.param(signal.SIGINT, 130, "user", 0, marks=pytest.mark.slow),
])  # fmt: skip
def test_a_stopped_run_resumes(signal_number, code, sender, epoch, run, table, here):
    arguments = [*table_overrides(table), *LONG, "trainer.max_epochs=7", "run_dir=r"]
    process = hanging_at(epoch, *arguments)
    wait_until(lambda: (here / "hangs").exists() or process.poll() is not None)
    process.send_signal(signal_number)
    _, err = process.communicate()
    (line,) = err.splitlines()
    assert process.returncode == code
    assert ("last checkpoint" in line) == bool(epoch)  # before the first one, none is promised
    status = Run.open(here / "r").status
    assert status["state"] == "interrupted"
    assert sender in status["error"]
    assert epochs(here / "r") == epoch
    assert not (here / "r" / ".lock").exists()
    arguments[arguments.index("trainer.max_epochs=7")] = "trainer.max_epochs=8"
    assert run("train", *arguments).code == 2  # that is another run
    history = (here / "r" / "history.csv").read_text() if epoch else ""
    arguments[arguments.index("trainer.max_epochs=8")] = "trainer.max_epochs=7"
    assert run("train", *arguments).code == 0
    assert epochs(here / "r") == 7
    assert (here / "r" / "history.csv").read_text().startswith(history)


@pytest.mark.slow
def test_a_restarted_multirun_leaves_finished_runs_unchanged(table, here):
    arguments = ["-m", *table_overrides(table), *LONG, "trainer.max_epochs=10", "model=mlp", "seed=range(0,12)"]
    process = start(*arguments)
    finished = lambda: {f.parent for f in (here / "outputs").glob("table-*/status.json") if '"done"' in f.read_text()}  # noqa: E731
    wait_until(lambda: len(finished()) >= 4)
    process.kill()
    process.communicate()
    folders = finished()
    before = {f: f.stat().st_mtime_ns for folder in folders for f in folder.rglob("*")}
    assert 4 <= len(folders) < 12
    again = subprocess.run(
        [sys.executable, "-m", "musicreclass", "train", *arguments], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert len(finished()) == 12
    assert {f: f.stat().st_mtime_ns for folder in folders for f in folder.rglob("*")} == before


@pytest.mark.slow
def test_ten_processes_with_one_command_train_one_run(table, here):
    arguments = [*table_overrides(table), "model=logreg", "hardware.threads=1"]
    processes = [start(*arguments) for _ in range(10)]
    outputs = [p.communicate() for p in processes]
    assert [p.returncode for p in processes] == [0] * 10, outputs
    (folder,) = (here / "outputs").glob("table-*")
    assert len({next(line for line in out.splitlines() if line.startswith("valid")) for out, _ in outputs}) == 1
    assert (folder / "run.log").read_text().count("command:") == 1


def test_a_locked_run_can_be_an_error(run, table, here):
    arguments = [*table_overrides(table), "model=logreg", "run_dir=r"]
    (here / "r").mkdir()
    with locked(here / "r" / ".lock"):
        result = run("train", *arguments, "if_locked=error")
    (problem,) = result.problems
    assert (result.code, problem.kind, problem.key, problem.value) == (2, "locked", "r", os.getpid())
    assert f"process {os.getpid()} on {socket.gethostname()}" in result.lines[0]
    assert run("train", *arguments, "if_locked=error").code == 0


def test_a_locked_run_is_waited_for(tmp_path, capsys):
    (tmp_path / "r").mkdir()
    lock = Lock(tmp_path / "r" / ".lock")
    assert lock.try_acquire()
    timer = threading.Timer(0.5, lock.release)
    timer.start()
    show_notices()
    with Run(tmp_path / "r").claimed():
        assert not timer.is_alive()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"musicreclass: {tmp_path / 'r'}: ")
    assert f"process {os.getpid()} on {socket.gethostname()}" in line


def test_a_newer_format_is_rejected(run, finished_run, table, here):
    arguments = [*table_overrides(table), "model=logreg", "run_dir=r"]
    finished_run("logreg", "r")
    file = here / "r" / "identity.json"
    identity = json.loads(file.read_text())
    assert identity["format"] == FORMAT
    file.write_text(json.dumps({**identity, "format": FORMAT + 1, "version": "9.8.7"}))
    before = {path: path.read_bytes() for path in (here / "r").rglob("*") if path.is_file()}
    commands = [["evaluate", "r"], ["compare", "r"], ["train", *arguments], ["train", *arguments, "force=true"]]
    for command in commands:
        result = run(*command)
        (problem,) = result.problems
        assert (result.code, len(result.lines)) == (2, 1), result.err
        assert (problem.kind, problem.key, problem.value) == ("newer_format", "r", FORMAT + 1)
        assert all(
            text in problem.message for text in (f"format {FORMAT + 1}", f"up to {FORMAT}", "9.8.7", __version__)
        )
    for read in (lambda: Run.open(Path("r")), lambda: Run(Path("r")).config, lambda: Run(Path("r")).identity):
        with pytest.raises(RunError) as caught:
            read()
        assert caught.value.kind == "newer_format"
    assert {path: path.read_bytes() for path in (here / "r").rglob("*") if path.is_file()} == before
    del identity["format"]  # older than the first numbered format
    file.write_text(json.dumps(identity))
    assert run("evaluate", "r", "--split", "valid").code == 0


@pytest.mark.parametrize("name", ["identity.json", "status.json", "metrics.json", "provenance.json", "config.yaml"])
@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": "x", "data": 1}'])
def test_a_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    run, attribute = Run(tmp_path), name.partition(".")[0]
    if name not in ("identity.json", "config.yaml") and content.startswith(b'{"'):
        return  # nothing that these files lack
    with pytest.raises(RunError) as caught:
        getattr(run, attribute)
    assert (caught.value.kind, caught.value.key) == ("unreadable", str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_damaged_list_of_runs_is_named(tmp_path):
    (tmp_path / "runs.csv").write_bytes(b"run\n\xff\n")
    with pytest.raises(RunError) as caught:
        find_runs(tmp_path)
    assert (caught.value.kind, caught.value.key) == ("unreadable", str(tmp_path / "runs.csv"))


@pytest.mark.parametrize("content", ["missing", "empty", "notes"])
def test_folders_without_a_run(tmp_path, content):
    folder = tmp_path / "r"
    if content != "missing":
        folder.mkdir()
    if content == "notes":
        (folder / "notes.txt").write_text("mine")
    with pytest.raises(RunError) as caught:
        Run.open(folder)
    assert (caught.value.kind, caught.value.key) == (
        "missing_folder" if content == "missing" else "not_a_run",
        str(folder),
    )
    if content == "notes":
        with pytest.raises(RunError) as caught, Run(folder).claimed():
            pass
        assert (caught.value.kind, caught.value.problems[0].value) == ("foreign_files", "notes.txt")
        assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_settings_that_change_a_signature(here):
    def signed(*overrides: str, data: str = "abc") -> str:
        return signature(settings_for(*overrides), data)

    base = signed()
    unsigned = ("hardware=cpu", "logger=none", "hardware.threads=1", "evaluate=[valid,test]", "force=true", "run_dir=x",
                "paths.cache=x", "if_locked=error", "data.root=/elsewhere")  # fmt: skip
    assert signed(*unsigned) == base
    others = [signed(override) for override in ("seed=1", "model=logreg", "model.dropout=0.1", "trainer.batch_size=32", "optimizer.lr=0.1",
              "scheduler=cosine", "early_stopping.min_delta=0.1", "class_weight=balanced", "data.on_missing=drop")]  # fmt: skip
    assert len({base, signed(data="abd"), *others}) == len(others) + 2


def test_signatures_do_not_change_between_versions(here):
    """Fails when a key with a default joins the signature, since existing runs would not be found. Do not sign such a key."""
    values = ("n_estimators=500", "learning_rate=0.3", "max_depth=6", "subsample=1.0", "colsample_bytree=1.0")
    overrides = [f"model.{value}" for value in (*values, "early_stopping_rounds=25")]
    settings = settings_for("data=table", "data.path=x.csv", "model=xgboost", *overrides)
    assert signature(settings, "abc") == "bf470ec9a2a0"


def test_a_run_that_another_process_took_over_is_not_marked_as_done(tmp_path):
    run = Run(tmp_path / "r")
    with run.claimed():
        run.set_state("running")
        with pytest.raises(LockLostError), run.session():
            (run.folder / ".lock").write_text('{"token": "other"}')
    assert run.state == "running"
    assert (run.folder / ".lock").exists()


class Payload:
    """A pickle that writes a file when it is loaded."""

    def __reduce__(self):
        return (Path("owned").touch, ())


def test_crafted_checkpoints_execute_nothing(run, finished_run, table, here):
    arguments = [*table_overrides(table), "model=mlp", "run_dir=r"]
    finished_run("mlp", "r")
    expected = pd.read_parquet(here / "r" / "predictions" / "valid.parquet")
    for name in ("last.ckpt", "best.ckpt"):
        status = here / "r" / "status.json"
        status.write_text(json.dumps({**json.loads(status.read_text()), "state": "interrupted"}))
        torch.save({"callbacks": {}, "payload": Payload()}, here / "r" / "checkpoints" / name)
        assert run("train", *arguments).code == 0
        log = (here / "r" / "run.log").read_text()
        assert any("WARNING" in line and "last.ckpt" in line for line in log.splitlines())
        pd.testing.assert_frame_equal(
            pd.read_parquet(here / "r" / "predictions" / "valid.parquet"), expected, check_exact=True
        )
    arguments = [*table_overrides(table), *quick("xgboost"), "run_dir=x"]
    finished_run("xgboost", "x")
    for crafted in (pickle.dumps(Payload()), b"{}", b""):
        status = here / "x" / "status.json"
        status.write_text(json.dumps({**json.loads(status.read_text()), "state": "interrupted"}))
        (here / "x" / "checkpoints" / "rounds.bin").write_bytes(crafted)
        assert run("train", *arguments).code == 0
    assert not Path("owned").exists()


def test_crafted_run_folders_execute_nothing_and_are_rejected(run, finished_run, here):
    finished_run("logreg", "r")
    originals = {f: f.read_bytes() for f in (here / "r").rglob("*") if f.is_file()}
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
        (lambda: config.write_text(originals[config].decode() + "\nx: !!python/object/apply:os.system ['touch owned']\n"), ["evaluate", "r"]),
        (lambda: config.write_text(originals[config].decode().replace("musicreclass.data.sources.table_file.TableFile", "os.system")), ["evaluate", "r"]),
        (lambda: skops.write_bytes(pickle.dumps(Payload())), ["evaluate", "r"]),
        (foreign_skops, ["evaluate", "r"]),
    ]  # fmt: skip
    for craft, command in crafts:
        craft()
        sum_again(here / "r" / "model")
        result = run(*command)
        assert (result.code, len(result.lines)) == (2, 1), (result.err, result.out)
        for file, content in originals.items():
            file.write_bytes(content)
    table_file.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(RunError):
        Run.open(here / "r").predictions("valid")
    assert not Path("owned").exists()


def test_clearing_a_run_folder_does_not_follow_links(run, finished_run, table, here):
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "file").write_text("mine")
    arguments = [*table_overrides(table), "model=logreg", "run_dir=r"]
    finished_run("logreg", "r")
    for name in ("checkpoints", "tensorboard"):
        if (here / "r" / name).is_dir():
            for file in (here / "r" / name).iterdir():
                file.unlink()
            (here / "r" / name).rmdir()
        (here / "r" / name).symlink_to(here / "elsewhere")
    assert run("train", *arguments, "force=true").code == 0
    assert (here / "elsewhere" / "file").read_text() == "mine"


def test_a_git_lfs_pointer_is_reported(run, finished_run, here):
    finished_run("mlp", "r")
    (here / "r" / "model" / "weights.pt").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    )
    result = run("evaluate", "r")
    assert (result.code, len(result.lines)) == (2, 1)
    assert "weights.pt: " in result.lines[0]
    assert "git lfs pull" in result.lines[0]


def test_read_only_outputs(run, table, here):
    (here / "outputs").mkdir(mode=0o555)
    result = powerless(lambda: run("train", *table_overrides(table), "model=logreg"))
    assert (result.code, [problem.kind for problem in result.problems]) == (2, ["unwritable"])


def test_long_and_non_ascii_names(run, table, here):
    name = "музыка-🎵-" + "é" * 80
    assert run("train", *table_overrides(table), "model=logreg", f'run_dir="{name}"').code == 0
    assert run("compare", name).code == 0
    result = run("train", *table_overrides(table), "model=logreg", f"run_dir={'x' * 300}")
    assert (result.code, [problem.kind for problem in result.problems]) == (2, ["unreadable"])
    assert "too long" in result.lines[0]  # the system's message
    frame = make_frame()
    frame["label"] = frame["label"].map({"blues": "Блюз", "jazz": "ジャズ", "rock": "a/b ro$ck"})
    path = here / "песни.csv"
    frame.to_csv(path, index=False)
    assert run("train", "data=table", f'data.path="{path}"', "model=logreg", "run_dir=n").code == 0
    assert sorted(Run.open(here / "n").metrics["classes"]) == ["a/b ro$ck", "Блюз", "ジャズ"]


def test_clocks_that_jump(run, table, here, monkeypatch):
    arguments = [*table_overrides(table), *LONG, "trainer.max_epochs=1", "run_dir=r"]
    real, jumps = time.time, iter(np.resize([0.0, 1e9, -1e9], 100_000))
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    assert run("train", *arguments).code == 0
    assert run("train", *arguments).out.count("already finished") == 1
    lock = here / "r" / ".lock"  # of an ended process, dated in the future
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}))
    os.utime(lock, (real() + 1e8, real() + 1e8))
    assert run("compare", "r").code == 0


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


IDENTITIES = {  # what a folder that no run has written may have as identity.json and status.json
    "neither": (None, None),
    "empty": ("{}", None),
    "a status alone": (None, '{"state": "done"}'),
    "no signature": ('{"format": 1}', '{"state": "done"}'),
    "another signature": ('{"format": 1, "signature": "mine"}', '{"state": "done"}'),
    "no status": ('{"format": 1, "signature": "0123456789ab"}', None),
    "another state": ('{"format": 1, "signature": "0123456789ab"}', '{"state": "open"}'),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_a_folder_that_no_run_has_written_is_not_changed(name, run, table, here):
    project = here / "project"
    for file in (
        "model/weights.pt",
        "figures/cover.png",
        "config.yaml",
        ".draft.1.part",
        "src/.cache.old",
        "src/.x.part",
    ):
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text("mine")
    for file, content in zip(("identity.json", "status.json"), IDENTITIES[name], strict=True):
        if content is not None:
            (project / file).write_text(content)
    before = contents(project)
    for force in ("true", "false") if name in ("neither", "another state") else ("false",):
        arguments = [*table_overrides(table), "model=logreg", "run_dir=project", f"force={force}"]
        result = run("train", *arguments)
        assert (result.code, [problem.kind for problem in result.problems]) == (2, ["foreign_files"])
        assert contents(project) == before
    with pytest.raises(RunError) as caught, Run(project).claimed():
        pass
    assert caught.value.kind == "foreign_files"
    assert contents(project) == before


def test_only_what_a_run_writes_is_removed(run, finished_run, table, here):
    arguments = ["train", *table_overrides(table), "model=logreg", "run_dir=r"]
    finished_run("logreg", "r")
    added = ("notes.txt", ".notes.txt.12.part", "src/.config.yaml.12.old", "model.old/weights.pt")
    ours = (
        ".config.yaml.12.part",
        ".status.json.0123456789ab.part",
        ".model.12.old/weights.pt",
        "checkpoints/.rounds.bin.12.part",
    )
    for file in (*added, *ours):
        (here / "r" / file).parent.mkdir(parents=True, exist_ok=True)
        (here / "r" / file).write_text("x")
    assert run(*arguments, "force=true").code == 0
    names = contents(here / "r")
    assert {*added} <= names.keys()
    assert names.keys().isdisjoint(ours)


def test_a_run_killed_between_its_first_files_starts_again(run, table, here):
    arguments = ["train", *table_overrides(table), "model=logreg", "run_dir=r"]
    (here / "r").mkdir()
    (here / "r" / "identity.json").write_text('{"format": 1, "signature": "0123456789ab"}')
    (here / "r" / ".lock.x").touch()
    result = run(*arguments)
    assert [problem.kind for problem in result.problems] == ["another_run"]
    (here / "r" / "identity.json").write_text('{"format": 1, "cleared": true}')
    assert run(*arguments).code == 0


def begin_in_child(folder: Path, at: int) -> tuple[int, int]:
    """Begin a run in a forked process that is killed at a write; returns the exit code and the number of writes."""
    failpoint = Failpoint(folder, at, "kill")
    child = os.fork()
    if child == 0:
        try:
            sys.addaudithook(failpoint)
            begin_run(folder)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), failpoint.count


def begin_run(folder: Path) -> None:
    run = Run(folder)
    with run.claimed(if_locked="error"):
        run.begin({"seed": 1}, Identity("0123456789ab", "f"), resume=False)


def test_a_run_killed_at_any_of_its_first_writes_begins_again(tmp_path):
    _, writes = begin_in_child(tmp_path / "complete", -1)
    assert writes >= 8
    expected = {path.name for path in (tmp_path / "complete").iterdir()}
    for at in range(writes):
        folder = tmp_path / str(at)
        code, _ = begin_in_child(folder, at)
        assert code == 9
        begin_run(folder)
        assert {path.name for path in folder.iterdir()} == expected, at
        assert Run.open(folder).identity.signature == "0123456789ab"


def test_a_run_that_another_process_begins_meanwhile_is_not_foreign(tmp_path, monkeypatch):
    folder = tmp_path / "r"
    folder.mkdir()
    read = RunFiles.has_identity.fget

    def has_identity(run: RunFiles) -> bool:
        before = read(run)
        if not before:
            write_json(folder / "identity.json", {"format": 1, "signature": "0123456789ab"})
            write_json(folder / "status.json", {"state": "running"})
        return before

    monkeypatch.setattr(RunFiles, "has_identity", property(has_identity))
    with Run(folder).claimed():
        pass


def test_a_done_run_is_on_the_disk(tmp_path, monkeypatch):
    synced: set[str] = set()
    fsync, replace = os.fsync, Path.replace
    contents_when_done: list[set[str]] = []

    def record_fsync(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> Path:
        if target.name == "status.json" and "done" in source.read_text():
            contents_when_done.append({str(path) for path in (tmp_path / "r").rglob("*")} - synced)
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    run = Run(tmp_path / "r")
    with run.claimed():
        run.begin({"seed": 1}, Identity("0123456789ab", "f"), resume=False)
        with run.session():
            run.write("metrics.json", {})
            run.subfolder("model").joinpath("weights").write_text("w")
    assert contents_when_done == [set()]


DAMAGE = {  # a value of another type, by file and key
    ("metrics.json", "valid.accuracy"): None,
    ("metrics.json", "valid.per_class.jazz.f1"): "high",
    ("metrics.json", "protocol.why"): 3,
    ("metrics.json", "classes"): "jazz",
    ("identity.json", "user_code"): "x",
    ("identity.json", "micro_batch"): 10**30,
    ("identity.json", "choices"): [1],
    ("provenance.json", "tracks"): 10**30,
    ("provenance.json", "notes"): {"a": 1},
    ("status.json", "state"): {},
    ("model/meta.json", "classes"): [1, 2, 3],
    ("model/meta.json", "columns"): [None],
    ("model/meta.json", "arguments"): "x",
    ("config.yaml", "paths"): None,
}


def damage(folder: Path, file: str, key: str) -> None:
    path = folder / file
    content = yaml.safe_load(path.read_text())
    node = content
    *above, last = key.split(".")
    for name in above:
        node = node[name]
    node[last] = DAMAGE[file, key]
    path.write_text(yaml.safe_dump(content) if file.endswith("yaml") else json.dumps(content))
    if file.startswith("model/"):
        sum_again(folder / "model")


def test_records_of_other_types_are_one_line(run, finished_run, here):
    finished_run("logreg", "intact")
    for file, key in DAMAGE:
        shutil.rmtree(here / "r", ignore_errors=True)
        shutil.copytree(here / "intact", here / "r")
        damage(here / "r", file, key)
        for task in ("evaluate",) if file == "provenance.json" else ("evaluate", "inspect"):
            result = run(task, "r")
            assert (result.code, len(result.lines)) == (2, 1), (file, key, result.err)
            assert f"r/{file}" in result.lines[0]
