"""One run in many processes, as torchrun starts them: who is who, and what they agree on."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from swinir.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class World:
    """A process among those of its run; the first one writes what is written."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """Average over the processes."""
        if self.count > 1:
            distributed.all_reduce(values)
            values = values / self.count
        return values

    def agrees_to_stop(self, is_asked: bool, device: torch.device) -> bool:
        """Tell whether any process was asked to stop."""
        if self.count == 1:
            return is_asked
        asked = torch.tensor(float(is_asked), device=device)
        distributed.all_reduce(asked, distributed.ReduceOp.MAX)
        return bool(asked.item())

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def join_world(device: torch.device) -> Generator[tuple[World, torch.device]]:
    """Join the processes that torchrun started, one GPU each where there are GPUs; alone without it.

    Raises:
        TrainingError: this machine has fewer GPUs than processes.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield World(), device
        return
    is_on_gpu = device.type == "cuda"
    if is_on_gpu:
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise TrainingError(
                f"process {local} of this machine has no GPU, there are {torch.cuda.device_count()}: "
                "start torchrun with as many processes as GPUs"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if is_on_gpu else "gloo")
    try:
        yield World(rank=distributed.get_rank(), count=count), device
    finally:
        distributed.destroy_process_group()
