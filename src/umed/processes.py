"""`Processes`: those that compute a stage together, and sums over all of them."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import zip_longest
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from umed.errors import InputError

S = TypeVar("S", list[Any], range)
T = TypeVar("T")

BUCKET = 2**26  # numbers that are summed at once: 256 MB; the gradients of an adapter are one sum
TIMEOUT = timedelta(minutes=30)  # of a sum: a judge may let a process wait
# of torchrun, and of Slurm's srun: rank, processes of all nodes, rank and processes on this node
NAMES = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
)


@dataclass(frozen=True, slots=True)
class Processes:
    """Query `k` of a batch belongs to process `k` modulo `count`; with one process nothing is sent or copied.

    Args:
        rank: of this process, from 0.
        local_rank, local_count: of this process on its machine, and how many there are.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1

    def share(self, places: S) -> S:
        """What of a batch's places, records or questions is this process's."""
        return places[self.rank :: self.count]  # type: ignore[return-value]

    def merge(self, shares: Sequence[Sequence[T]]) -> list[T]:
        """The shares of all processes in the order of the whole."""
        nothing = object()
        return [x for row in zip_longest(*shares, fillvalue=nothing) for x in row if x is not nothing]  # type: ignore[misc]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, of numbers; every process calls it, with the same shape."""
        if self.count == 1:
            return values
        device = values.device
        if dist.get_backend() == "nccl" and device.type != "cuda":  # which sums on GPUs only
            device = torch.device("cuda", torch.cuda.current_device())
        there = values.to(device, copy=True)
        dist.all_reduce(there)
        return there.to(values.device)

    def total(self, count: int) -> int:
        """The sum of a count over the processes."""
        return count if self.count == 1 else int(self.sum(torch.tensor([count])))

    def gather(self, values: list[Any]) -> list[Any]:
        """The shares of a list, merged in order: anything that JSON can say, floats to the last bit."""
        if self.count == 1:
            return values
        text = torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8)
        sizes = torch.zeros(self.count, dtype=torch.long)
        sizes[self.rank] = len(text)
        ends = self.sum(sizes).cumsum(0).tolist()
        whole = torch.zeros(ends[-1], dtype=torch.uint8)
        whole[ends[self.rank] - len(text) : ends[self.rank]] = text
        data = self.sum(whole).numpy().tobytes()
        return self.merge([json.loads(data[start:end]) for start, end in zip([0, *ends], ends, strict=False)])

    def sum_gradients(self, weights: Sequence[nn.Parameter], numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sum the gradients over the processes in place, and some numbers with them.

        A weight that has no gradient in any process keeps none; one that has none in this one counts as zeros.

        Args:
            numbers: the same names in every process.
        """
        if self.count == 1:
            return dict(numbers)
        has_gradient = self.sum(torch.tensor([p.grad is not None for p in weights]).int()).tolist()
        trained = [p for p, processes in zip(weights, has_gradient, strict=True) if processes]
        for bucket in _fill_buckets(trained):
            flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
            for p, part in zip(bucket, self.sum(flat).split([p.numel() for p in bucket]), strict=True):
                p.grad = part.view_as(p).clone()
        names = sorted(numbers)
        values = self.sum(torch.stack([numbers[name].detach().float() for name in names]))
        return dict(zip(names, values.unbind(), strict=True))

    def send_weights(self, module: nn.Module) -> None:
        """Give every process the trained weights of the first, a guard: they start from the same seed and files."""
        if self.count > 1:
            for p in module.parameters():
                if p.requires_grad:
                    dist.broadcast(p.data, 0)


ALONE = Processes()


def find_processes(environ: Mapping[str, str] = os.environ) -> Processes:
    """Which process this is, by the variables that torchrun, Slurm's srun or our own launcher set.

    Raises:
        InputError: a variable that is no number.
    """
    for rank, count, local_rank, local_count in NAMES:
        if rank in environ and count in environ:
            try:
                here = int(environ.get(local_rank, "0"))
                return Processes(int(environ[rank]), int(environ[count]), here, int(environ.get(local_count, "1")))
            except ValueError:
                given = ", ".join(f"{n}={environ.get(n)}" for n in (rank, count, local_rank, local_count))
                raise InputError(f"environment: {given}: numbers are needed, as torchrun or srun set them") from None
    return ALONE


def join(device: torch.device, count: int, environ: Mapping[str, str] = os.environ) -> Processes:
    """Meet the other processes of a stage of `count`; one alone has none to meet.

    Raises:
        InputError: there are more or fewer than the stage is for, or they cannot be reached.
    """
    processes = find_processes(environ) if count > 1 else ALONE
    if processes.count != count:
        raise InputError(
            f"{processes.count} processes were started, but trainer.devices and trainer.num_nodes say {count}: start "
            "as many, or continue with resume=RUN_DIR and the devices that are there"
        )
    if processes.count > 1 and not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if "RANK" not in environ:
            _find_first_node()
        try:
            dist.init_process_group(
                backend,
                init_method=environ.get("UMED_MEETING", "env://"),
                rank=processes.rank,
                world_size=processes.count,
                timeout=TIMEOUT,
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(f"process {processes.rank} of {processes.count}: no way to the others: {error}") from error
    return processes


def _find_first_node() -> None:
    """Put into the environment where the processes of a Slurm job meet."""
    from lightning.fabric.plugins.environments import SLURMEnvironment

    slurm = SLURMEnvironment()
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = slurm.main_address, str(slurm.main_port)


def is_lost(error: BaseException) -> bool:
    """Whether a sum failed because another process is gone, which is then the one to ask."""
    names = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(name in str(error) for name in names)
    )


def leave() -> None:
    """Part from the others, once nothing is left to sum."""
    if dist.is_available() and dist.is_initialized():
        with suppress(RuntimeError):  # of others that have left before
            dist.barrier()
        dist.destroy_process_group()


def _fill_buckets(weights: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The weights in groups of at most `BUCKET` numbers, or of one weight."""
    buckets: list[list[nn.Parameter]] = []
    room = 0
    for p in weights:
        if p.numel() > room:
            buckets.append([])
            room = BUCKET
        buckets[-1].append(p)
        room -= p.numel()
    return buckets
