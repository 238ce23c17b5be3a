"""Pace and concurrency; time passes in the event loop alone."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umed.llm.limits import Pace, for_each, read_retry_after


class SkippingLoop(asyncio.SelectorEventLoop):
    """Waiting sets the clock forward instead."""

    def __init__(self) -> None:
        super().__init__()
        self._skipped, select = 0.0, self._selector.select

        def skip(timeout: float | None = None) -> Any:
            self._skipped += timeout or 0.0
            return select(0)

        self._selector.select = skip

    def time(self) -> float:
        return super().time() + self._skipped


def run_skipping(work: Coroutine[Any, Any, float]) -> float:
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        return runner.run(work)


@settings(max_examples=25)
@given(st.integers(60, 6000), st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_amounts_follow_each_other_evenly(per_minute: int, amounts: list[int]) -> None:
    """The share of the first second at once, all else at the pace."""

    async def go() -> float:
        pace, start = Pace(per_minute), asyncio.get_running_loop().time()
        await asyncio.gather(*map(pace.wait, amounts))
        return asyncio.get_running_loop().time() - start

    share = per_minute / 60
    wanted = max(0.0, sum(amounts) / share - 1)
    assert run_skipping(go()) == pytest.approx(wanted, abs=0.2, rel=0.02)


def test_without_a_limit_there_is_no_wait() -> None:
    async def go() -> float:
        start = asyncio.get_running_loop().time()
        await Pace(None).wait(10**9)
        return asyncio.get_running_loop().time() - start

    assert run_skipping(go()) < 1


@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(0, 30))
def test_so_many_at_once_and_each_item_once(concurrency: int, count: int) -> None:
    done, now, most = [], 0, 0

    async def work(item: int) -> None:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now -= 1
        done.append(item)

    asyncio.run(for_each(range(count), concurrency, work))
    assert sorted(done) == list(range(count)) and most == min(concurrency, count)


def test_an_error_ends_the_others() -> None:
    ended = []

    async def work(item: int) -> None:
        if item == 1:
            raise ValueError("one")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    with pytest.raises(ValueError, match="one"):
        asyncio.run(for_each(range(9), 3, work))
    assert sorted(ended) == [0, 2]


@settings(max_examples=30)
@given(st.floats(0, 1e6))
def test_the_time_that_the_endpoint_asks_for(seconds: float) -> None:
    assert read_retry_after(httpx2.Headers({"Retry-After": f"{seconds:.6f}"})) == pytest.approx(seconds, abs=1e-5)
    both = {"Retry-After-Ms": f"{seconds:.6f}", "Retry-After": "77"}
    assert read_retry_after(httpx2.Headers(both)) == pytest.approx(seconds / 1000, abs=1e-5)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    assert read_retry_after(httpx2.Headers({"Retry-After": date})) == pytest.approx(seconds, abs=5)


@pytest.mark.parametrize("value", ["", "soon", "-1", "nan", "1e12"])
def test_what_is_no_time(value: str) -> None:
    assert read_retry_after(httpx2.Headers({"Retry-After": value})) is None
    assert read_retry_after(httpx2.Headers({})) is None
