"""Checkpoints: written atomically, and validated before a run resumes from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from musicreclass.config.messages import one_line
from musicreclass.errors import notices
from musicreclass.storage.atomic import SyncBudget, replacing
from musicreclass.storage.damage import raise_if_not_damage, set_aside


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a temporary file and renames it, so that the previous one survives a killed process.

    It survives a power failure too unless epochs are much shorter than the time that a disk takes, see `SyncBudget`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.budget = SyncBudget()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See `TorchCheckpointIO`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)
            self.budget.sync(temporary.parent)  # with the best checkpoint, which the last one names


class ModelCheckpointOfEachEpoch(ModelCheckpoint):
    """Writes the last checkpoint in each epoch. Lightning 2.6 writes it only with a new best one, from which a run would resume."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """See `ModelCheckpoint`."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._last_global_step_saved != trainer.global_step:
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))


def find_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint; None if it or the best one is missing, damaged, contains code or belongs to another folder.

    Damaged checkpoints are renamed, so that the run that starts over does not overwrite them.

    Raises:
        OSError, MemoryError, RuntimeError: if the files cannot be read, or memory does not suffice.
    """
    last = loaded = folder / "last.ckpt"
    if not last.is_file():
        return None
    try:
        checkpoint = torch.load(last, map_location="cpu", weights_only=True)
        (state,) = [state for name, state in checkpoint["callbacks"].items() if name.startswith("ModelCheckpoint")]
        if Path(state["dirpath"]).resolve() != folder.resolve():
            notices.warning("%s cannot be resumed, the run starts over: it was written to %s", last, state["dirpath"])
            return None
        loaded = Path(state["best_model_path"])
        torch.load(loaded, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        notices.warning("%s cannot be resumed, the run starts over: %s is missing", last, loaded.name)
        return None
    except Exception as error:
        raise_if_not_damage(loaded, error)
        ours = [path for path in {last, loaded} if path.parent.resolve() == folder.resolve()]
        renamed = ", ".join(sorted(set_aside(path).name for path in ours))
        message = "%s cannot be resumed, the run starts over: %s is damaged (%s); kept as %s"
        notices.warning(message, last, loaded.name, one_line(error)[:160], renamed)
        return None
    return last
