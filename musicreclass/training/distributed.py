"""Several processes that train one network: Lightning's strategy, and the collective operations of a training step.

With a single process every function here returns its input.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import distributed

from musicreclass.hardware.launch import LIGHTNING, launcher


class SummedGradientStrategy(DDPStrategy):
    """Lightning's DDP strategy with gradients summed after the backward passes, instead of averaged within the last one.

    Each process computes the gradient of its shard, in as many micro-batches as its memory needs, and `sum_gradients` adds
    them up once per step. The step then equals that of one process, to 1e-5 (tests/training/test_distributed.py).
    DistributedDataParallel, which Lightning would wrap around the module, was tried with two processes and `no_sync` for all
    but the last micro-batch. It gives the same gradients for uneven shards, but:

    - a step that runs out of memory in one process cannot be repeated in smaller micro-batches: the repeated pass fails with
      "Expected to have finished reduction in the prior iteration", and the other process loses its connection;
    - parameters that are frozen when training starts are never reduced, so their gradients are wrong once a network
      unfreezes them;
    - an empty shard needs a backward pass, which batch normalisation cannot compute.

    Args:
        threads: CPU threads of each process.
    """

    def __init__(self, threads: int) -> None:
        super().__init__()
        self.threads = threads

    def setup_environment(self) -> None:
        """Connect the processes, then set the number of threads again, which Lightning's launcher has changed."""
        super().setup_environment()
        torch.set_num_threads(self.threads)

    def configure_ddp(self) -> None:
        """Do not wrap the module."""

    def on_train_start(self) -> None:
        """Check that all processes resume from the same epoch, and copy the weights of the first one."""
        module = self.lightning_module
        assert module is not None
        if module.current_epoch * world_size() != all_reduce(np.array([module.current_epoch]), module.device)[0]:
            raise RuntimeError("the processes of this launch resume from different epochs; start all of them again")
        broadcast([*module.parameters(), *module.buffers()])

    def on_validation_start(self) -> None:
        """Copy the running batch statistics of the first process, which differ between shards."""
        assert self.lightning_module is not None
        broadcast(self.lightning_module.buffers())

    def on_exception(self, exception: BaseException) -> None:
        """End the processes that this one launched: they wait for it."""
        super().on_exception(exception)
        if self.global_rank == 0 and not launcher():
            self.launcher.kill(signal.SIGKILL)  # type: ignore[union-attr]

    def teardown(self) -> None:
        """Disconnect, and remove the launch from the environment, so that the next fit launches its own processes."""
        super().teardown()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        if self.global_rank == 0 and not launcher():
            for name in LIGHTNING:
                os.environ.pop(name, None)


def global_rank() -> int:
    """Rank of this process; 0 for the first or only one."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def shard(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """This process's part of a batch. Shards differ in size by one track at most, and may be empty."""
    return tensors if world_size() == 1 else tuple(t[global_rank() :: world_size()] for t in tensors)


def all_reduce(values: np.ndarray, device: torch.device) -> np.ndarray:
    """Sum of an array over all processes."""
    if world_size() == 1:
        return values
    on_device = torch.from_numpy(values).to(device)
    distributed.all_reduce(on_device)
    return on_device.cpu().numpy()


def gather_rows(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, those of the first one first."""
    if world_size() == 1:
        return rows
    parts: list[Any] = [None] * world_size()
    distributed.all_gather_object(parts, rows)
    return np.concatenate(parts)


@torch.no_grad()
def sum_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Replace each gradient by its sum over all processes. A parameter without a gradient in any process stays without one."""
    if world_size() == 1:
        return
    parameters = [p for p in parameters if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    has_gradient = torch.tensor([float(p.grad is not None) for p in parameters], device=gradients[0].device)
    flat = torch.cat([*(g.reshape(-1) for g in gradients), has_gradient])
    distributed.all_reduce(flat)
    *sums, counts = flat.split([*(p.numel() for p in parameters), len(parameters)])
    for parameter, gradient, total, count in zip(parameters, gradients, sums, counts.tolist(), strict=True):
        if count:
            parameter.grad = gradient.copy_(total.view_as(parameter))  # keeps the memory format of the parameter


@torch.no_grad()
def broadcast(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrite tensors by their values in the first process."""
    if world_size() > 1:
        for tensor in tensors:
            distributed.broadcast(tensor, 0)
