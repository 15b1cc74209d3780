"""What processes that train one network do together, once they are connected. Alone, all of this does nothing.

Each takes its share of every batch, and their gradients are added up, not averaged over processes: so an optimizer step is
that of the whole batch, however it falls into shares, and a process may pass its share in other micro-batches than the next.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable

import numpy as np
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.trainer.states import TrainerStatus
from torch import distributed

from musicreclass.hardware.launch import LIGHTNING, launcher


class SummedGradientStrategy(DDPStrategy):
    """Lightning's strategy of a process per device, but for its wrapper around the module.

    That one averages gradients within each backward pass, so that all processes must make as many passes, over shares of one size.

    Args:
        threads: of each process, for computing on the CPU.
    """

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.threads = threads

    def setup_environment(self) -> None:
        """Connect the processes; Lightning's launcher has set another number of threads by now."""
        super().setup_environment()
        torch.set_num_threads(self.threads)

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


def rank() -> int:
    """This process's number; 0 for the first, or the only one."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def world() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def shard(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """This process's part of a batch; parts differ in size by one at most, and may be empty."""
    return tensors if world() == 1 else tuple(t[rank() :: world()] for t in tensors)


def all_reduce(values: np.ndarray, device: torch.device) -> np.ndarray:
    """Numbers of all processes, added up."""
    if world() == 1:
        return values
    there = torch.from_numpy(values).to(device)
    distributed.all_reduce(there)
    return there.cpu().numpy()


def teardown(trainer: Trainer) -> None:
    """After a fit that was launched here, leave nothing of the launch: the next one is its own.

    Processes of a fit that has failed are ended.
    """
    if not isinstance(trainer.strategy, SummedGradientStrategy):
        return
    if distributed.is_initialized():
        distributed.destroy_process_group()
    if trainer.global_rank == 0 and not launcher():
        if trainer.interrupted or trainer.state.status != TrainerStatus.FINISHED:
            trainer.strategy.launcher.kill(signal.SIGKILL)  # type: ignore[union-attr]
        for name in LIGHTNING:
            os.environ.pop(name, None)


@torch.no_grad()
def sum_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Add up the gradients of all processes, in place; one without tracks adds nothing."""
    if world() == 1:
        return
    taking = [p for p in parameters if p.requires_grad]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in taking]
    there = torch.tensor([float(p.grad is not None) for p in taking], device=grads[0].device)
    flat = torch.cat([*(g.reshape(-1) for g in grads), there])
    distributed.all_reduce(flat)
    parts = flat.split([*(p.numel() for p in taking), len(taking)])
    for parameter, grad, found, has in zip(taking, grads, parts, parts[-1].tolist(), strict=False):
        if has:  # in any process; a parameter that is not used has none, as in one process
            parameter.grad = grad.copy_(found.view_as(parameter))  # in the parameter's own layout


@torch.no_grad()
def broadcast(tensors: Iterable[torch.Tensor]) -> None:
    """Take the first process's values of weights, or of buffers such as running batch statistics."""
    if world() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)
