"""Which seconds count, and for which part."""

import time

import pytest

from umed.bench import clock
from umed.bench.clock import StepClock, peak_mb, resident_mb


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    at = [0.0]
    monkeypatch.setattr(clock, "_now", lambda: at[0])
    return at


def test_warm_up_is_left_out_and_the_parts_add_up(now: list[float]) -> None:
    stopwatch = StepClock(warmup=1)

    def work(seconds: float) -> float:
        now[0] += seconds
        return seconds

    sample = stopwatch.timed("sample", work)
    score = stopwatch.timed("score", lambda: sample(3.0) + work(1.0), without="sample")
    for number in stopwatch.steps(3):
        score()
        work(number)
    measured = stopwatch.measured()
    assert measured["step_s"] == [5.0, 6.0]
    assert measured["split_s"] == {"sample": [3.0, 3.0], "score": [1.0, 1.0], "update": [1.0, 2.0]}


def test_cpu_seconds_are_those_of_this_process() -> None:
    stopwatch = StepClock(warmup=0)
    stopwatch.start()
    time.sleep(0.05)
    stopwatch.end_step()
    assert stopwatch.cpu_s[0] < 0.04 < stopwatch.step_s[0]


def test_the_peak_stays() -> None:
    before = peak_mb()
    block = bytearray(64_000_000)
    assert resident_mb("VmRSS") > 64
    del block
    assert peak_mb() >= max(before, 64)
