"""What a user installs is what was tested here: the wheel, in another environment, from another folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def build(kind: str, folder: Path) -> Path:
    """Build the wheel or sdist of this checkout in a folder."""
    command = [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (archive,) = (path for path in folder.iterdir() if path.suffix in (".whl", ".gz"))
    return archive


def files_below(*folders: str) -> set[str]:
    """The source files below some folders of this checkout, by path."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}


def test_the_wheel_has_the_package_and_its_configuration(tmp_path):
    files = set(zipfile.ZipFile(build("wheel", tmp_path)).namelist())
    assert files_below("musicreclass") | {f"musicreclass/{path}" for path in files_below("conf")} <= files
    assert {path.split("/")[0] for path in files if ".dist-info/" not in path} == {"musicreclass"}


def test_the_sdist_has_everything_that_its_tests_and_makefile_use(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    code = files_below("musicreclass", "conf", "tests", "tools", "benchmarks", "docs")
    assert code | {"Makefile", "constraints.txt", "experiments/baselines.yaml", "experiments/README.md"} <= files


@pytest.mark.slow
def test_a_wheel_trains_the_demo_from_another_folder(tmp_path, cache):
    """The environment is new and uses the dependencies of this one by path; the package comes from the wheel only."""
    wheel = build("wheel", tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    where = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                           capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
    (Path(where) / "lent.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )  # .pth files in that folder are not processed
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(install, check=True)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    command = tmp_path / "env" / "bin" / "musicreclass"
    process = subprocess.run([python, "-c", "import musicreclass.config.locations as c; print(c.CONF)"], cwd=folder, capture_output=True,
                          text=True, check=True, env=environment)  # fmt: skip
    assert Path(process.stdout.strip()) == Path(where) / "musicreclass" / "conf"
    command_line = [command, "train", "model=logreg", "data.clips_per_artist=1"]
    done = subprocess.run(command_line, cwd=folder, env={**environment, "MUSICRECLASS_CACHE": str(cache)}, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "outputs").glob("demo-logreg-s0-*/metrics.json"))) == 1


def test_sys_argv_is_not_changed():
    """A process launched with sys.argv, as Lightning's launcher does it, starts the same job."""
    code = (
        "import sys; sys.argv = ['musicreclass', 'train', '--cfg', 'job', 'seed=3']\n"
        "from musicreclass.cli.main import main; main(); print(sys.argv)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "['musicreclass', 'train', '--cfg', 'job', 'seed=3']"


def test_make_prints_its_targets():
    process = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("demo", "test", "bench", "lint"):
        assert f"make {target} " in process.stdout
