"""Checkpoints: written atomically, and validated before a run resumes from one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from musicreclass.config.messages import one_line
from musicreclass.storage.atomic import replacing

log = logging.getLogger("musicreclass")


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file and renames it, so that the previous one survives a killed process."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See `TorchCheckpointIO`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


def find_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint, or None if it or the best one is missing, damaged, contains code or belongs to another folder."""
    last = folder / "last.ckpt"
    if not last.is_file():
        return None
    try:
        checkpoint = torch.load(last, map_location="cpu", weights_only=True)
        (state,) = [state for name, state in checkpoint["callbacks"].items() if name.startswith("ModelCheckpoint")]
        if Path(state["dirpath"]).resolve() != folder.resolve():
            raise ValueError(f"it was written to {state['dirpath']}")
        torch.load(state["best_model_path"], map_location="cpu", weights_only=True)
    except Exception as error:
        log.warning("%s cannot be resumed, the run starts over: %s", last, one_line(error)[:160])
        return None
    return last
