"""Several processes under Lightning's trainer: it knows their ranks, and the methods sum what is to be summed."""

from typing import Any

import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy

from umed.processes import find_processes


class Ranks(ClusterEnvironment):
    """Ranks from the variables of torchrun, srun or our own launcher; Lightning alone would guess, and start some."""

    def __init__(self) -> None:
        super().__init__()
        self._here, self._count = find_processes(), 1

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        raise NotImplementedError("the processes meet before a trainer is used, see umed.processes.join")

    @property
    def main_port(self) -> int:
        raise NotImplementedError("the processes meet before a trainer is used, see umed.processes.join")

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._count

    def set_world_size(self, size: int) -> None:
        self._count = size

    def global_rank(self) -> int:
        return self._here.rank

    def set_global_rank(self, rank: int) -> None:
        """Lightning's own count; the rank is that of the environment."""

    def local_rank(self) -> int:
        return self._here.local_rank

    def node_rank(self) -> int:
        return 0  # Lightning asks for it to count ranks, which are known


class DataParallel(DDPStrategy):
    """Without torch's wrapper, whose reducer fails where weights have no gradient or backward passes differ in number.

    `Method.apply_gradients` sums the gradients in the one place that steps.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(cluster_environment=Ranks(), **kwargs)

    @property
    def root_device(self) -> torch.device:
        devices = self.parallel_devices or [torch.device("cpu")]
        return devices[self.local_rank % len(devices)]

    def configure_ddp(self) -> None:
        """Start from the same weights everywhere."""
        find_processes().send_weights(self.lightning_module)  # type: ignore[arg-type]
