"""torchaudio imports with and without its extension; both cases are simulated, whatever build is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

IMPORT = """
import sys, warnings, torch
warnings.simplefilter("error")
{before}
from musicreclass.augmentation import transforms
extension = sys.modules["torchaudio._extension"]
assert transforms.mel_spectrogram(sample_rate=16000, n_mels=20)(torch.zeros(1, 16000)).shape == (1, 20, 81)
import torchaudio, torchaudio.functional as again
assert again is sys.modules["torchaudio.functional"] and again.phase_vocoder is transforms.phase_vocoder
assert torchaudio._extension is extension
{after}
"""
UNLOADABLE = """
def refuse(path): raise OSError("libc10_cuda.so: cannot open shared object file")
torch.ops.load_library = refuse
"""
# An extension that loads: its operators are defined in Python, and the loaded libraries recorded.
LOADABLE = """
loaded = []
torch.ops.load_library = lambda path: loaded.append(path.name)
private, public = torch.library.Library("_torchaudio", "DEF"), torch.library.Library("torchaudio", "DEF")
private.define("is_align_available() -> bool"); private.define("cuda_version() -> int?")
private.impl("is_align_available", lambda: True, "CompositeImplicitAutograd")
private.impl("cuda_version", lambda: 11080, "CompositeImplicitAutograd")
public.define("_lfilter_core_loop(Tensor a) -> ()"); public.define("_overdrive_core_loop(Tensor a) -> ()")
"""


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def run_forks(codes: dict[str, str], folder: Path) -> Iterator[tuple[str, int, str, str]]:
    """Run each code in a fork of one process that has imported torch; gives names, exit codes, output and errors."""
    result = run_python(f"""
import os, sys, torch
for name, code in {codes!r}.items():
    child = os.fork()
    if child == 0:
        for stream, suffix in ((1, "out"), (2, "err")):
            os.dup2(os.open(os.path.join({str(folder)!r}, f"{{name}}.{{suffix}}"), os.O_WRONLY | os.O_CREAT), stream)
        exec(code, {{"__name__": "__main__"}})
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
""")
    assert result.returncode == 0, result.stderr
    for name, code in zip(codes, result.stdout.splitlines(), strict=True):
        out, err = ((folder / f"{name}.{suffix}").read_text() for suffix in ("out", "err"))
        yield name, int(code), out, err


def test_torchaudio_imports(tmp_path):
    cases = {
        "as installed": ("", ""),
        "not loadable": (
            UNLOADABLE,
            "assert not extension._IS_TORCHAUDIO_EXT_AVAILABLE and not extension._IS_ALIGN_AVAILABLE\n"
            "try: again.forced_align(None, None)\n"
            "except RuntimeError as error: assert 'forced_align needs' in str(error)\n"
            "else: raise AssertionError",
        ),
        "loadable": (
            LOADABLE + "torch.version.cuda = '11.8'",
            "assert extension.__file__ and extension._IS_TORCHAUDIO_EXT_AVAILABLE and extension._IS_ALIGN_AVAILABLE",
        ),
        "another CUDA version": (
            LOADABLE + "torch.version.cuda = '12.8'",
            "assert not hasattr(extension, '__file__') and extension._IS_TORCHAUDIO_EXT_AVAILABLE\n"
            "assert extension._IS_ALIGN_AVAILABLE and len(loaded) == 4, loaded",
        ),
    }
    codes = {name: IMPORT.format(before=before, after=after) for name, (before, after) in cases.items()}
    for name, *result in run_forks(codes, tmp_path):
        assert result == [0, "", ""], name


FAILED_IMPORT = """
import sys, torch
block = lambda name: {block}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torchaudio":
            raise block(name)
sys.meta_path.insert(0, Finder())
for _ in range(2):
    try:
        import musicreclass.augmentation.transforms
    except ImportError as error:
        print(error)
    assert not [name for name in sys.modules if "torchaudio" in name or name.endswith("augmentation.transforms")]
import musicreclass.models.frontend
"""


def test_a_failed_import_of_torchaudio_is_reported_and_leaves_no_modules(tmp_path):
    cases = {
        "is not installed": "ModuleNotFoundError('No module named ' + repr(name), name=name)",
        "ValueError: half a package": "ValueError('half a package')",
    }
    codes = {reason: FAILED_IMPORT.format(block=block) for reason, block in cases.items()}
    for reason, code, out, err in run_forks(codes, tmp_path):
        assert code == 0, err
        lines = out.splitlines()
        assert len(lines) == 2
        assert all("torchaudio" in line and reason in line for line in lines)
        assert all("pip install 'torchaudio>=2.8,<2.12'" in line for line in lines)


def test_table_models_do_not_import_torchaudio():
    result = run_python(
        "import sys, musicreclass.models.mlp, musicreclass.models.frontend; print('torchaudio' in sys.modules)"
    )
    assert result.stdout == "False\n"


def test_only_transforms_imports_torchaudio():
    package = Path(__file__).parents[2] / "musicreclass"
    sources = {
        path.relative_to(package).as_posix(): path.read_text().replace("`import torchaudio`", "")
        for path in package.rglob("*.py")
    }
    assert [name for name, source in sources.items() if "import torchaudio" in source] == []
    importing = [name for name, source in sources.items() if 'import_module("torchaudio")' in source]
    assert importing == ["augmentation/transforms.py"]
