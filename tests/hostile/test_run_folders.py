"""Run folders from someone else: each is opened by every task that reads runs.

None may hang, end with a traceback, execute anything, or write outside the run. What cannot be used is exit code 2 and one line
that names the file.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

import musicreclass.tasks.compare
import musicreclass.tasks.ensemble
import musicreclass.tasks.evaluate
import musicreclass.tasks.file_classifier
import musicreclass.tasks.find_or_train
import musicreclass.tasks.inspect
import musicreclass.tasks.predict
import musicreclass.tasks.tensorboard  # imported before the forks
from musicreclass.cli import main as cli
from musicreclass.cli.messages import report_error
from tests.conftest import make_frame, sum_again
from tests.hostile.child import Ended, fork
from tests.sounds import music, write

pytestmark = pytest.mark.slow
Damage = Callable[[Path], None]
MODELS = {"mlp": ["trainer.max_epochs=2"], "xgboost": ["model.n_estimators=5"], "logreg": []}
JSON_FILES = ("identity.json", "status.json", "metrics.json", "provenance.json", "model/meta.json")
FILES = (
    *JSON_FILES,
    "config.yaml",
    "model/SHA256SUMS",
    "tracks.parquet",
    "predictions/valid.parquet",
    "run.log",
    "history.csv",
)
CASES: dict[str, tuple[str, Damage, str]] = {}  # by name: the model, the damage, the file that evaluate must name or ""


class Canary:
    """Its pickle creates a file."""

    def __reduce__(self):
        return os.mkdir, ("canary",)


def case(name: str, damage: Damage, refused: str = "", model: str = "mlp") -> None:
    """Add a case."""
    assert name not in CASES
    CASES[name] = (model, damage, refused)


def put(name: str, content: str | bytes) -> Damage:
    """Write a file."""

    def damage(run: Path) -> None:
        (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def change(name: str, **values: object) -> Damage:
    """Set keys of a JSON file."""

    def damage(run: Path) -> None:
        path = run / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
        if name.startswith("model/"):
            sum_again(run / "model")

    return damage


def configure(old: str, new: str) -> Damage:
    """Replace text of config.yaml."""

    def damage(run: Path) -> None:
        text = (run / "config.yaml").read_text()
        assert old in text
        (run / "config.yaml").write_text(text.replace(old, new, 1))

    return damage


def replaced(name: str, make: Callable[[Path], object]) -> Damage:
    """Put something that is no regular file in the place of a file or folder."""

    def damage(run: Path) -> None:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        make(path)

    return damage


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def outside(run: Path) -> Path:
    return run.parent / "outside"


def signed(name: str, content: bytes) -> Damage:
    """Write a file of the model, and sums that fit."""

    def damage(run: Path) -> None:
        (run / "model" / name).write_bytes(content)
        sum_again(run / "model")

    return damage


def flipped(name: str, step: int) -> Damage:
    """Flip a bit of a file of the model every few bytes, and write sums that fit."""

    def damage(run: Path) -> None:
        path = run / "model" / name
        content = bytearray(path.read_bytes())
        for position in range(len(content) // step, len(content), step):
            content[position] ^= 1 << position % 8
        path.write_bytes(content)
        sum_again(run / "model")

    return damage


def nested(opening: str, inner: str, closing: str, depth: int = 100_000) -> str:
    return opening * depth + inner + closing * depth


def npy_with_pickle() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Canary()], dtype=object), allow_pickle=True)
    return file.getvalue()


def zip_of(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


WRONG = {"null": "null", "a list": "[]", "a number": "1", "text": '"x"', "a giant number": "9" * 5000, "not JSON": "{", "empty": "",
         "not UTF-8": b"\xff\xfe{}", "NUL bytes": b"\0" * 4096, "deep": nested("[", "", "]"), "deep objects": nested('{"a":', "1", "}")}  # fmt: skip
for file in JSON_FILES:
    for name, content in WRONG.items():
        case(f"{file} is {name}", put(file, content), file if file != "provenance.json" else "")
for name, content in WRONG.items():
    case(f"config.yaml is {name}", put("config.yaml", content), "config.yaml")
for file in FILES:
    used = (
        file
        if file not in ("provenance.json", "tracks.parquet", "predictions/valid.parquet", "run.log", "history.csv")
        else ""
    )
    case(f"{file} is a FIFO", replaced(file, os.mkfifo), used)
    case(
        f"{file} is a link to a FIFO",
        replaced(file, lambda path: (os.mkfifo(path.with_name("f")), path.symlink_to("f"))),
        used,
    )
    case(f"{file} is a link to /dev/zero", replaced(file, link_to("/dev/zero")), used)
    case(f"{file} is a folder", replaced(file, Path.mkdir), used)
    case(f"{file} is a loop", replaced(file, lambda path: path.symlink_to(path.name)), used)
TYPES = {
    "identity.json": {"signature": [1], "code": 5, "user_code": ["x"], "choices": {"model": {"a": 1}}, "format": "1", "micro_batch": 2**80,
                      "processes": None, "launch": 5, "encoder": {}, "fingerprint": 7, "version": {}},
    "status.json": {"state": ["done"], "error": {"a": 1}},
    "metrics.json": {"valid": 5, "classes": {"a": 1}, "protocol": [], "elsewhere": 5, "test": {"n": "x"}},
    "provenance.json": {"versions": 5, "seconds": {"fit": "x"}, "features": "x", "notes": {"a": 1}, "tracks": {"test": "x"}, "hardware": 5,
                        "model": [1], "profile": 7, "pretrained": [3], "peak_memory_mib": "\x1b[31m"},
    "model/meta.json": {"kind": "x", "target": 5, "arguments": [1], "classes": ["a", "a"], "columns": 5, "input": 3, "format": 99,
                        "scale": "x", "frontend": 5, "sample_rate": 2**70},
}  # fmt: skip
for file, keys in TYPES.items():
    for key, value in keys.items():
        case(f"{file}: {key} is {str(value)[:20]!r}", change(file, **{key: value}))
BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a},*{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk", strict=True))  # fmt: skip
case(
    "config.yaml: aliases that multiply",
    lambda run: put("config.yaml", (run / "config.yaml").read_text() + BOMB)(run),
    "config.yaml",
)
case(
    "config.yaml: an alias of itself",
    lambda run: put("config.yaml", (run / "config.yaml").read_text() + "x: &x [*x]\n")(run),
    "config.yaml",
)
case(
    "config.yaml: a Python object", configure("seed: 0", "seed: !!python/object/apply:os.mkdir [canary]"), "config.yaml"
)
case("config.yaml: a long list", configure("ignore_columns: []", f"ignore_columns: [{'x,' * 200_000}]"), "config.yaml")
case("config.yaml: an interpolation", configure("seed: 0", "seed: ${oc.env:HOME}"), "config.yaml")
for target in (
    "os.system",
    "shutil.rmtree",
    "subprocess.run",
    "torch.hub.load",
    "numpy.save",
    "builtins.eval",
    "a.b",
    "",
    "5",
    "canary.make",
):
    case(
        f"data._target_ is {target!r}",
        configure("musicreclass.data.sources.table_file.TableFile", repr(target)),
        "config.yaml",
    )
    case(f"model/meta.json calls {target!r}", change("model/meta.json", target=target), "model")
    case(
        f"features._target_ is {target!r}",
        configure("features:\n  _target_: null", f"features:\n  _target_: {target!r}\n  checkpoint: x"),
    )
for ranges in ("x", {}, {"low": [0], "high": [1], "varies": [True]}, {"low": None, "high": [], "varies": "x"}):
    case(f"model/meta.json has ranges {ranges!r}", change("model/meta.json", ranges=ranges), "model")
for parts in ("x", "[1]", "{a: 5}", "{a: {_target_: canary.make}}"):
    joined = f"features:\n  _target_: musicreclass.features.feature_data.FeatureData\n  parts: {parts}"
    case(f"features.parts is {parts}", configure("features:\n  _target_: null", joined))
for key in ("cache", "outputs", "data", "models"):
    case(f"paths.{key} is outside", configure(f"\n  {key}: ", f"\n  {key}: ../outside/{key} #"))
for folder in ("predictions", "figures", "model", "tensorboard", "checkpoints", "."):
    case(f"{folder} is a link outside", replaced(folder, link_to("../outside")) if folder != "." else
         (lambda run: (run.rename(run.parent / "real"), run.symlink_to("real"))))  # fmt: skip
for sums in (
    "../outside/x",
    "/etc/passwd",
    "/dev/zero",
    "..",
    ".",
    "a/b",
    "",
    "\0",
    "x" * 5000,
    "meta.json\nmeta.json",
):
    case(f"SHA256SUMS names {sums[:12]!r}", put("model/SHA256SUMS", f"{'0' * 64}  {sums}\n"), "model")
case("SHA256SUMS is huge", put("model/SHA256SUMS", f"{'0' * 64}  meta.json\n" * 100_000), "model")
case("SHA256SUMS is wrong", put("model/meta.json", "{}"), "model")
PICKLE = pickle.dumps(Canary())
for file, model in (
    ("weights.pt", "mlp"),
    ("pipeline.skops", "logreg"),
    ("present.npy", "logreg"),
    ("trees.ubj", "xgboost"),
    ("pipeline.skops", "xgboost"),
):
    case(f"{model}: {file} is a pickle", signed(file, PICKLE), file, model)
    case(f"{model}: {file} is an array with a pickle", signed(file, npy_with_pickle()), file, model)
    case(
        f"{model}: {file} is a zip with a pickle",
        signed(file, zip_of(data=PICKLE, archive__data__pkl=PICKLE)),
        file,
        model,
    )
    case(
        f"{model}: {file} is a zip bomb",
        signed(file, zip_of(archive__data__pkl=bytes(1 << 28), schema__json=bytes(1 << 28))),
        file,
        model,
    )
    case(f"{model}: {file} is empty", signed(file, b""), file, model)
    for step in (7, 41, 997):
        case(f"{model}: {file} has every {step}th byte flipped", flipped(file, step), "", model)
SCHEMA = {
    "__class__": "mkdir",
    "__module__": "os",
    "__loader__": "FunctionNode",
    "content": "os.mkdir",
    "protocol": 1,
    "_skops_version": "0.13",
}
case(
    "logreg: skops with a function",
    signed("pipeline.skops", zip_of(**{"schema.json": json.dumps(SCHEMA).encode()})),
    "pipeline.skops",
    "logreg",
)
case(
    "logreg: deep skops",
    signed("pipeline.skops", zip_of(**{"schema.json": nested('{"content":', "1", "}", 5000).encode()})),
    "pipeline.skops",
    "logreg",
)
for file in (
    "model.joblib",
    "model.pth",
    "model.pkl",
    "arrays.npz",
    ".hidden.part",
    "__init__.py",
    "conftest.py",
    "numexpr.py",
    "sitecustomize.py",
):
    code = b"import os\nos.mkdir('canary')\n" if file.endswith(".py") else PICKLE
    case(f"a user's {file}", lambda run, file=file, code=code: (put(file, code)(run), put(f"model/{file}", code)(run)))
case(
    "runs.csv names folders outside",
    lambda run: (put("runs.csv", "run\n../../../etc\n/dev/zero\n")(run), (run / "status.json").unlink()),
)
case("a class with escape sequences", change("model/meta.json", classes=["\x1b[31m", "jazz", "rock"]))
case("a lock that never ends", put(".lock", json.dumps({"host": "elsewhere", "pid": 10**30, "token": "x"})))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and a finished run of each model, trained by processes of their own."""
    folder = tmp_path_factory.mktemp("runs")
    frame = make_frame()
    frame["split"] = np.array(["train", "train", "train", "valid", "test"])[np.arange(len(frame)) // 3 % 5]
    frame.to_csv(folder / "features.csv", index=False)
    for model, options in MODELS.items():
        data = ["data=table", f"data.path={folder / 'features.csv'}", "data.split_column=split"]
        command = [
            sys.executable,
            "-m",
            "musicreclass",
            "train",
            f"model={model}",
            f"run_dir={folder / model}",
            *data,
            *options,
        ]
        subprocess.run(command, check=True, cwd=folder, capture_output=True)
    return folder


def commands(run: Path, other: Path) -> dict[str, Callable[[], int]]:
    """Every task that reads a run."""

    def link() -> int:
        try:
            musicreclass.tasks.tensorboard.Links(Path(tempfile.mkdtemp()), [run]).refresh()
        except Exception as error:
            return report_error(error)
        return 0

    return {
        "inspect": lambda: cli.main(["inspect", str(run)]),
        "compare": lambda: cli.main(["compare", str(run), "--output", "page.html"]),
        "evaluate": lambda: cli.main(["evaluate", str(run), "--split", "test"]),
        "tensorboard": link,
        "predict": lambda: cli.main(["predict", str(run), "--input", "song.wav", "--output", "genres.csv"]),
        "ensemble": lambda: cli.main(["ensemble", str(run), str(other), "--output", "ensemble"]),
        "export": lambda: cli.main(["export", str(run), "--output", "model.onnx"]),
    }


def contents(folder: Path) -> dict[str, str]:
    """The content of each regular file below a folder."""
    return {str(p): sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file() and not p.is_symlink()}


def faults(name: str, ended: Ended, refused: str, task: str) -> list[str]:
    """What is wrong with the way a command ended."""
    lines = ended.err.splitlines()
    problems = []
    if ended.code not in (0, 1, 2):
        problems.append(f"exit code {ended.code}")
    if ended.code == 1 and not any(line.endswith("run.log)") for line in lines):
        problems.append("exit code 1")
    if "Traceback" in ended.err or any(re.match(r"(musicreclass: )?\w+Error:", line) for line in lines):
        problems.append("a Python error")
    if "\x1b" in ended.out + ended.err:
        problems.append("an escape sequence")
    if refused and task == "evaluate" and (ended.code != 2 or Path(refused).name not in ended.err):
        problems.append(f"{refused} is not named")
    return [f"{task}: {fault}: {lines[-3:]}" for fault in problems]


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_run_folder(name, runs, tmp_path, monkeypatch):
    monkeypatch.setattr("musicreclass.storage.locks.EXPIRY", 3.0)  # a lock of an unknown owner is waited for
    model, damage, refused = CASES[name]
    run, folder = tmp_path / "run", tmp_path / "work"
    shutil.copytree(runs / model, run)
    folder.mkdir()
    write(folder / "song.wav", music(1.5, 16000), 16000)
    outside(run).mkdir()
    (outside(run) / "x").write_text("a person's")
    damage(run)
    before, table = contents(outside(run)), contents(runs)
    problems = []
    for task, command in commands(run, runs / model).items():
        try:
            problems += faults(name, fork(command, folder), refused, task)
        except AssertionError as error:
            problems.append(f"{task}: {error}")
    assert not problems, "\n".join(problems)
    assert (contents(outside(run)), contents(runs)) == (before, table)
    assert not list(tmp_path.rglob("canary"))
