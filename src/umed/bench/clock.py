"""Seconds, CPU seconds and peak memory of the steps of one process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

PARTS = ("sample", "score", "update")
STATUS = Path("/proc/self/status")


@dataclass
class StepClock:
    """Times every step; `measured` leaves out the first ones.

    Args:
        warmup: steps that are left out.
    """

    warmup: int
    step_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    split_s: list[dict[str, float]] = field(default_factory=list)
    start_mb: float = 0.0

    def start(self) -> None:
        """Before the first step."""
        self.start_mb = resident_mb("VmRSS")
        self._reset()

    def _reset(self) -> None:
        self._seconds, self._cpu, self._parts = _now(), process_time(), dict.fromkeys(PARTS, 0.0)

    def add(self, part: str, seconds: float) -> None:
        """Seconds of the current step that went into one of `PARTS`; what no part claims is `update`."""
        self._parts[part] += seconds

    def end_step(self) -> None:
        seconds = _now() - self._seconds
        self.step_s.append(seconds)
        self.cpu_s.append(process_time() - self._cpu)
        self._parts["update"] = seconds - self._parts["sample"] - self._parts["score"]
        self.split_s.append(self._parts)
        self._reset()

    def timed(self, part: str, function: Callable[..., Any], without: str | None = None) -> Callable[..., Any]:
        """The function, its seconds going into a part.

        Args:
            without: a part that is timed inside and counts there alone.
        """

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            start, inside = _now(), self._parts[without] if without else 0.0
            result = function(*args, **kwargs)
            inner = self._parts[without] - inside if without else 0.0
            self.add(part, _now() - start - inner)
            return result

        return call

    def steps(self, count: int) -> Iterator[int]:
        """Numbers of steps, each of them timed; for a loop of its own."""
        self.start()
        for number in range(count):
            yield number
            self.end_step()

    def measured(self) -> dict[str, Any]:
        """Numbers of the steps after the warm-up, and memory in MB."""
        split = {part: [s[part] for s in self.split_s[self.warmup :]] for part in PARTS}
        steps, cpu = self.step_s[self.warmup :], self.cpu_s[self.warmup :]
        return {"step_s": steps, "cpu_s": cpu, "split_s": split, "start_mb": self.start_mb, "peak_mb": peak_mb()}


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()


def peak_mb() -> float:
    """The most memory that the process has held: on a GPU the tensors there, else all that is resident."""
    return torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else resident_mb("VmHWM")


def resident_mb(name: str) -> float:
    """`VmRSS` now, or `VmHWM` at most.

    `getrusage` would not do on Linux: there a process inherits the peak of the one that started it.
    """
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 1e6
    if STATUS.is_file():
        line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024 / 1e6
    import resource  # elsewhere than on Linux; in bytes there

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
