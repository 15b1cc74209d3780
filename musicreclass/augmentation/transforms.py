"""The one import of torchaudio: what this project needs of it is pure Python, and works with any build of torch.

PyPI's torchaudio is a CUDA build. Beside a torch of another kind its compiled extension does not load, and `import torchaudio`
fails with it: OSError under a CPU torch, RuntimeError under another CUDA version. Here a small module then takes the
extension's place. What stays out of reach without the extension (lfilter, forced_align, RNN-T loss) is not used.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

EXTENSION = "torchaudio._extension"


def load_torchaudio() -> Any:
    """The package torchaudio, with its extension where that loads and without it elsewhere.

    Raises:
        ImportError: it is not installed, or broken in another way; no part of it is left in sys.modules.
    """
    try:
        return importlib.import_module("torchaudio")
    except Exception as error:
        forget()
        if not isinstance(error, (OSError, RuntimeError)):
            raise ImportError(unusable(error)) from error
    try:
        sys.modules[EXTENSION] = stand_in()
        package = importlib.import_module("torchaudio")
    except Exception as error:
        forget()
        raise ImportError(unusable(error)) from error
    package._extension = sys.modules[EXTENSION]  # type: ignore[attr-defined]  # as a submodule's own import would
    return package


def forget() -> None:
    """Take what a failed import left out of sys.modules."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]


def unusable(error: Exception) -> str:
    """What went wrong, and the remedy, in one line."""
    if isinstance(error, ModuleNotFoundError) and error.name == "torchaudio":
        reason = "torchaudio is not installed"
    else:
        reason = f"torchaudio cannot be imported ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
    return f"{reason}: pip install 'torchaudio>=2.8,<2.12' beside the torch that is there"


def stand_in() -> ModuleType:
    """A module with what torchaudio reads from `torchaudio._extension`, true to what could be loaded."""
    module = ModuleType(EXTENSION, "Stands in for the extension, which does not load beside this torch.")
    usable = load_library("_torchaudio") and load_library("libtorchaudio")
    align = usable and bool(torch.ops._torchaudio.is_align_available())
    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=usable,
        _IS_ALIGN_AVAILABLE=align,
        fail_if_no_align=unchanged if align else refused,
        _load_lib=load_library,
        _check_cuda_version=lambda: None,
    )
    return module


def load_library(name: str) -> bool:
    """Whether one of the extension's shared libraries is there and loads; another CUDA version does not stop it."""
    spec = importlib.util.find_spec("torchaudio")
    if spec is None or spec.origin is None:
        return False
    paths = sorted((Path(spec.origin).parent / "lib").glob(name + ("*.pyd" if os.name == "nt" else "*.so")))
    try:
        for path in paths:
            torch.ops.load_library(path)
    except (OSError, RuntimeError):
        return False
    return bool(paths)


def unchanged(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself."""
    return function


def refused(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that says what it lacks."""

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"{function.__name__} needs torchaudio's extension, which does not load beside this torch")

    return fail


torchaudio = load_torchaudio()

Resample: Any = torchaudio.transforms.Resample
add_noise: Callable[..., torch.Tensor] = torchaudio.functional.add_noise
phase_vocoder: Callable[..., torch.Tensor] = torchaudio.functional.phase_vocoder


def mel_spectrogram(**settings: Any) -> torch.nn.Module:
    """torchaudio's MelSpectrogram of power in Slaney's bands, whose window and filters follow from its settings and are not saved."""
    module: torch.nn.Module = torchaudio.transforms.MelSpectrogram(
        power=2.0, norm="slaney", mel_scale="slaney", **settings
    )
    for part in module.modules():
        for name, constant in list(part.named_buffers(recurse=False)):
            part.register_buffer(name, constant, persistent=False)
    return module
