"""torchaudio, with and without its extension: fakes stand for both, whatever this machine's builds are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
# An extension that loads: its operators are declared in Python, the calls that load libraries noted.
LOADABLE = """
loaded = []
torch.ops.load_library = lambda path: loaded.append(path.name)
own, effects = torch.library.Library("_torchaudio", "DEF"), torch.library.Library("torchaudio", "DEF")
own.define("is_align_available() -> bool"); own.define("cuda_version() -> int?")
own.impl("is_align_available", lambda: True, "CompositeImplicitAutograd")
own.impl("cuda_version", lambda: 11080, "CompositeImplicitAutograd")
effects.define("_lfilter_core_loop(Tensor a) -> ()"); effects.define("_overdrive_core_loop(Tensor a) -> ()")
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        (
            UNLOADABLE,
            "assert not extension._IS_TORCHAUDIO_EXT_AVAILABLE and not extension._IS_ALIGN_AVAILABLE\n"
            "try: again.forced_align(None, None)\n"
            "except RuntimeError as error: assert 'forced_align needs' in str(error)\n"
            "else: raise AssertionError",
        ),
        (
            LOADABLE + "torch.version.cuda = '11.8'",
            "assert extension.__file__ and extension._IS_TORCHAUDIO_EXT_AVAILABLE and extension._IS_ALIGN_AVAILABLE",
        ),
        (
            LOADABLE + "torch.version.cuda = '12.8'",
            "assert not hasattr(extension, '__file__') and extension._IS_TORCHAUDIO_EXT_AVAILABLE\n"
            "assert extension._IS_ALIGN_AVAILABLE and len(loaded) == 4, loaded",
        ),
    ],
    ids=["as it is here", "not loadable", "usable", "another CUDA version"],
)
def test_torchaudio_comes_in(before, after):
    told = python(IMPORT.format(before=before, after=after))
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (
            "block = lambda name: ModuleNotFoundError('No module named ' + repr(name), name=name)",
            "torchaudio is not installed",
        ),
        (
            "block = lambda name: ValueError('half a package')",
            "torchaudio cannot be imported (ValueError: half a package)",
        ),
    ],
    ids=["absent", "broken"],
)
def test_a_torchaudio_that_is_not_there_is_named_and_leaves_nothing_behind(before, words):
    told = python(f"""
import sys, torch
{before}
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
""")
    assert told.returncode == 0, told.stderr
    assert (
        told.stdout.splitlines() == [f"{words}: pip install 'torchaudio>=2.8,<2.12' beside the torch that is there"] * 2
    )


def test_networks_over_tables_do_without_torchaudio():
    told = python(
        "import sys, musicreclass.models.mlp, musicreclass.models.frontend; print('torchaudio' in sys.modules)"
    )
    assert told.stdout == "False\n"


def test_nothing_else_imports_torchaudio():
    package = Path(__file__).parents[2] / "musicreclass"
    naming = [
        p.name for p in package.rglob("*.py") if "import torchaudio" in p.read_text().replace("`import torchaudio`", "")
    ]
    assert naming == []
    assert [p.name for p in package.rglob("*.py") if 'import_module("torchaudio")' in p.read_text()] == [
        "transforms.py"
    ]
