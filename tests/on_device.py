"""Training on the CPU, the pretend accelerator or a GPU: the same code, another device."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import pretend_gpu
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from umed.chat import Prompt
from umed.engine.device import create_trainer
from umed.methods.base import Method

CPU = torch.device("cpu")


class PretendAccelerator(Accelerator):
    def setup_device(self, device: torch.device) -> None: ...

    def teardown(self) -> None: ...

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return [0]

    @staticmethod
    def get_parallel_devices(devices: Any) -> Any:
        return [torch.device(pretend_gpu.NAME, 0)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return pretend_gpu.NAME


def trainer_of(device: torch.device, **options: Any) -> L.Trainer:
    """A quiet trainer on this device."""
    where: dict[str, Any] = {"accelerator": "gpu" if device.type == "cuda" else "cpu", "devices": 1}
    if device.type == pretend_gpu.NAME:
        where = {"strategy": SingleDeviceStrategy(device, PretendAccelerator())}
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False}
    return create_trainer(partial(L.Trainer), **{"max_epochs": 1, "log_every_n_steps": 1} | quiet | where | options)


def fit(
    method: Method, batches: Any, device: torch.device, val: Any = None, resume: Any = None, **options: Any
) -> tuple[L.Trainer, list[dict[str, float]]]:
    """Train on these batches; what was logged of each, without seconds."""
    logged: list[dict[str, float]] = []
    log = method.log_dict

    def keep(stats: dict[str, float | Tensor], **kwargs: Any) -> None:
        logged.append({name: float(value) for name, value in stats.items() if not name.startswith("time/")})
        log(stats, **kwargs)

    method.log_dict = keep  # type: ignore[method-assign]
    trainer = trainer_of(device, **options)
    with warnings.catch_warnings():  # Lightning's advice about workers and a missing validation loader
        warnings.simplefilter("ignore", PossibleUserWarning)
        trainer.fit(method, loader_of(batches), val and loader_of(val), ckpt_path=resume, weights_only=True)
    return trainer, logged


def loader_of(batches: list[list[Prompt]] | Dataset) -> DataLoader:
    return DataLoader(batches, batch_size=None, collate_fn=list)  # type: ignore[arg-type]


def equal_numbers(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    """The same names, and values but for rounding; NaN where the other is."""
    assert [list(line) for line in found] == [list(line) for line in expected]
    for line, other in zip(found, expected, strict=True):
        numbers, others = (torch.tensor(list(each.values()), dtype=torch.float64) for each in (line, other))
        torch.testing.assert_close(numbers, others, rtol=1e-4, atol=1e-5, equal_nan=True)


def same_on(device: torch.device, run: Callable[[torch.device], Any]) -> tuple[Any, Any]:
    """What `run` gives on the CPU, with plain attention as on the pretend device, and on this device."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = run(CPU)
    return run(device), expected
