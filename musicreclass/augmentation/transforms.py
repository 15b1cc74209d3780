"""The only import of torchaudio, which makes its pure-Python transforms work with any build of torch.

PyPI's torchaudio is a CUDA build. With another build of torch its compiled extension does not load, and `import torchaudio` fails:
with OSError for a CPU torch, with RuntimeError for another CUDA version. This module then replaces the extension by a stub. The
functions that need the extension (lfilter, forced_align, RNN-T loss) are not used here.
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
    """Import torchaudio, with its extension replaced by a stub if that does not load.

    Raises:
        ImportError: if it is not installed, or fails for another reason; no part of it remains in sys.modules.
    """
    try:
        return importlib.import_module("torchaudio")
    except Exception as error:
        remove_partial_import()
        if not isinstance(error, (OSError, RuntimeError)):
            raise ImportError(import_error_message(error)) from error
    try:
        sys.modules[EXTENSION] = extension_stub()
        package = importlib.import_module("torchaudio")
    except Exception as error:
        remove_partial_import()
        raise ImportError(import_error_message(error)) from error
    package._extension = sys.modules[EXTENSION]  # type: ignore[attr-defined]  # as a submodule's own import would
    return package


def remove_partial_import() -> None:
    """Remove the modules of a failed import from sys.modules."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]


def import_error_message(error: Exception) -> str:
    """The cause and the remedy, in one line."""
    if isinstance(error, ModuleNotFoundError) and error.name == "torchaudio":
        reason = "torchaudio is not installed"
    else:
        reason = f"torchaudio cannot be imported ({type(error).__name__}: {' '.join(str(error).split())[:160]})"
    return f"{reason}; run pip install 'torchaudio>=2.8,<2.12' with the installed torch"


def extension_stub() -> ModuleType:
    """A module with the attributes that torchaudio reads from `torchaudio._extension`, set according to what loads."""
    module = ModuleType(EXTENSION, "Replaces the extension, which does not load with this torch.")
    available = load_library("_torchaudio") and load_library("libtorchaudio")
    align = available and bool(torch.ops._torchaudio.is_align_available())
    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=available,
        _IS_ALIGN_AVAILABLE=align,
        fail_if_no_align=identity if align else without_extension,
        _load_lib=load_library,
        _check_cuda_version=lambda: None,
    )
    return module


def load_library(name: str) -> bool:
    """Load one of the extension's shared libraries, whatever its CUDA version; returns whether that succeeded."""
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


def identity(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator that changes nothing."""
    return function


def without_extension(function: Callable[..., Any]) -> Callable[..., Any]:
    """Replace a function that needs the extension by one that raises RuntimeError."""

    def raise_error(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f"{function.__name__} needs torchaudio's extension, which does not load with this torch")

    return raise_error


torchaudio = load_torchaudio()

Resample: Any = torchaudio.transforms.Resample
add_noise: Callable[..., torch.Tensor] = torchaudio.functional.add_noise
phase_vocoder: Callable[..., torch.Tensor] = torchaudio.functional.phase_vocoder


def mel_spectrogram(**settings: Any) -> torch.nn.Module:
    """torchaudio's MelSpectrogram: power in Slaney mel bands. Window and filters are not saved; they follow from the settings."""
    module: torch.nn.Module = torchaudio.transforms.MelSpectrogram(
        power=2.0, norm="slaney", mel_scale="slaney", **settings
    )
    for submodule in module.modules():
        for name, constant in list(submodule.named_buffers(recurse=False)):
            submodule.register_buffer(name, constant, persistent=False)
    return module
