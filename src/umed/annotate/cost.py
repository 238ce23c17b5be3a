"""What annotating costs: tokens estimated before, counted after, and the cap on the money."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from typing_extensions import TypedDict

from umed.errors import InputError

FIT, SHORT_SIDE, TILE = 2048, 768, 512  # how OpenAI scales and cuts a picture in high detail


class Prices(TypedDict):
    input: NonNegativeFloat | None
    output: NonNegativeFloat | None


class OutputTokens(TypedDict):
    expected: PositiveInt
    at_most: PositiveInt


class ImageTokens(TypedDict):
    base: NonNegativeInt
    tile: NonNegativeInt


class Spent(Exception):
    """The next request does not fit under the cap."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens; None = unknown."""

    input: float | None
    output: float | None

    def of(self, tokens_in: float, tokens_out: float) -> float | None:
        """USD for so many tokens; None = unknown."""
        if self.input is None or self.output is None:
            return None
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


def count_text_tokens(text: str) -> int:
    """An estimate: four characters a token."""
    return -(-len(text) // 4)


def count_image_tokens(width: int, height: int, formula: ImageTokens) -> int:
    """An estimate: `base` and `tile` for each square of 512 px, of the picture scaled as in high detail."""
    scale = min(1.0, FIT / max(width, height))
    scale = min(scale, SHORT_SIDE / min(width, height))
    columns, rows = (max(1, math.ceil(round(side * scale, 3) / TILE)) for side in (width, height))
    return formula["base"] + formula["tile"] * columns * rows


class Budget:
    """Money against `max_cost` (USD, None = no cap); estimates grow by the worst seen. Raises InputError: no prices."""

    def __init__(self, price: Price, max_cost: float | None) -> None:
        if max_cost is not None and price.of(0, 0) is None:
            raise InputError(
                f"annotator.max_cost={max_cost:g} needs prices: set annotator.price.input and annotator.price.output, "
                "USD per million tokens"
            )
        self.price, self.max_cost, self.spent, self.is_exhausted = price, max_cost, 0.0, False
        self._held, self._under_way, self._changed = 0.0, 0, asyncio.Condition()
        self._excess, self.is_sure = (1.0, 1.0), max_cost is None

    def start(self, answers: Iterable[tuple[int, int, float | None, int | None]], at_most: int) -> None:
        """Count and learn from paid `answers`: tokens in, out, cost (None: today's price), estimated tokens in."""
        costs = []
        for tokens_in, tokens_out, cost, estimate in answers:
            costs.append(cost if cost is not None else self.price.of(tokens_in, tokens_out) or 0.0)
            if estimate is not None:
                self.learn(tokens_in, tokens_out, estimate, at_most)
        self.spent = math.fsum(costs)

    def learn(self, tokens_in: int, tokens_out: int, estimate: int, at_most: int) -> None:
        """Compare the tokens of an answer with the estimate."""
        more = tokens_in / max(1, estimate), tokens_out / at_most
        self._excess, self.is_sure = (max(more[0], self._excess[0]), max(more[1], self._excess[1])), True

    def bound(self, estimate: int, at_most: int) -> float:
        """The most that a request is estimated to cost, USD."""
        return self.price.of(estimate * self._excess[0], at_most * self._excess[1]) or 0.0

    def fits(self, cost: float) -> bool:
        return self.max_cost is None or self.spent + self._held + cost <= self.max_cost

    @asynccontextmanager
    async def hold(self, bound: Callable[[], float]) -> AsyncIterator[None]:
        """Reserve a request's cost, one at a time until estimates are proven. Raises Spent: it will never fit."""
        async with self._changed:
            while self.is_exhausted or not self.fits(bound()) or (self._under_way and not self.is_sure):
                if self.is_exhausted or not self._under_way:
                    self.is_exhausted = True
                    self._changed.notify_all()
                    raise Spent
                await self._changed.wait()
            cost = bound()
            self._held, self._under_way = self._held + cost, self._under_way + 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._held = self._held - cost if self._under_way else 0.0
            async with self._changed:
                self._changed.notify_all()
