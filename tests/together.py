"""The same work in several processes of gloo, forked from this one: they share its imports and models."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from umed.processes import ALONE, Processes, join, leave


def together(count: int, work: Callable[[Processes], Any]) -> list[Any]:
    """What `work` returns in each process: tensors, numbers and lists of them."""
    if count == 1:
        return [work(ALONE)]
    with TemporaryDirectory() as folder:
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=_run, args=(rank, count, folder, work)) for rank in range(count)]
        for child in children:
            child.start()
        for child in children:
            child.join(300)
        assert [child.exitcode for child in children] == [0] * count
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(count)]


def _run(rank: int, count: int, folder: str, work: Callable[[Processes], Any]) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(count), "UMED_MEETING": f"file://{folder}/meeting"}
    torch.set_num_threads(1)
    torch.save(work(join(torch.device("cpu"), count)), Path(folder) / f"{rank}.pt")
    leave()
    os._exit(0)  # without what pytest would do at its end
