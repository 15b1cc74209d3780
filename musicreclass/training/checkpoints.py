"""Checkpoints of networks: written whole, and trusted only when they are."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from musicreclass.config.messages import one_line
from musicreclass.storage.atomic import replacing

log = logging.getLogger("musicreclass")


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, so that a kill leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """As Lightning calls it."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as scratch:
            torch.save(checkpoint, scratch)


def find_checkpoint(folder: Path) -> Path | None:
    """The checkpoint to go on from, if it and the best one are whole, bring no code, and were made in this very folder."""
    last = folder / "last.ckpt"
    if not last.is_file():
        return None
    try:
        found = torch.load(last, map_location="cpu", weights_only=True)
        (kept,) = [state for name, state in found["callbacks"].items() if name.startswith("ModelCheckpoint")]
        if Path(kept["dirpath"]).resolve() != folder.resolve():
            raise ValueError(f"it was made in {kept['dirpath']}")
        torch.load(kept["best_model_path"], map_location="cpu", weights_only=True)
    except Exception as error:
        log.warning("%s cannot be gone on from, the run starts over: %s", last, one_line(error)[:160])
        return None
    return last
