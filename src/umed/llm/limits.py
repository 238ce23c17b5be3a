"""How many requests are under way at once and how fast they follow each other."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2
from aiolimiter import AsyncLimiter

T = TypeVar("T")


async def for_each(items: Iterable[T], concurrency: int, work: Callable[[T], Awaitable[None]]) -> None:
    """Do the work for every item, for so many at once; an error ends all of it."""
    queue = iter(items)

    async def worker() -> None:
        for item in queue:
            await work(item)

    workers = [asyncio.create_task(worker()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()


class Pace:
    """A limit per minute, evenly: a burst of one second's share at most, whatever the size of one request."""

    def __init__(self, per_minute: float | None) -> None:
        self._limiter = AsyncLimiter(per_minute / 60, 1) if per_minute else None
        self._turn = asyncio.Lock()

    async def wait(self, amount: float) -> None:
        if self._limiter is None:
            return
        async with self._turn:  # first come, first served
            while amount > 0:
                part = min(amount, self._limiter.max_rate)
                await self._limiter.acquire(part)
                amount -= part


def read_retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the endpoint asks to wait, by number or date; None if it does not say."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / per_second
        except ValueError:
            continue
        if 0 <= seconds < 1e9:
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
