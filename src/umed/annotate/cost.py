"""What annotating costs: tokens estimated before, counted after, and the cap on the money."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from umed.errors import InputError

FIT, SHORT_SIDE, TILE = 2048, 768, 512  # how OpenAI scales and cuts a picture in high detail


class Spent(Exception):
    """The next request does not fit under the cap."""


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens; None = unknown."""

    input: float | None
    output: float | None

    def __post_init__(self) -> None:
        for name in ("input", "output"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"annotator.price.{name}={value}: USD per million tokens are expected, or null")

    def of(self, input: float, output: float) -> float | None:
        """USD for so many tokens in and out."""
        if self.input is None or self.output is None:
            return None
        return (input * self.input + output * self.output) / 1e6


def text_tokens(text: str) -> int:
    """An estimate: four characters a token."""
    return -(-len(text) // 4)


def image_tokens(width: int, height: int, formula: Mapping[str, int]) -> int:
    """An estimate: `base` and `tile` for each square of 512 px, of the picture scaled as in high detail."""
    scale = min(1.0, FIT / max(width, height))
    scale = min(scale, SHORT_SIDE / min(width, height))
    columns, rows = (max(1, math.ceil(round(side * scale, 3) / TILE)) for side in (width, height))
    return formula["base"] + formula["tile"] * columns * rows


class Budget:
    """What was spent and what requests under way may cost, against `max_cost` (USD; None = no cap).

    An estimate is multiplied by the most that an answer has exceeded its own by; `is_sure`: some answer has told.

    Raises:
        InputError: a cap without prices, or one that is no amount.
    """

    def __init__(self, price: Price, max_cost: float | None) -> None:
        if max_cost is not None and not 0 < max_cost < math.inf:
            raise InputError(f"annotator.max_cost={max_cost}: an amount of USD above 0 is expected, or null")
        if max_cost is not None and price.of(0, 0) is None:
            raise InputError(
                f"annotator.max_cost={max_cost} needs prices: set annotator.price.input and annotator.price.output, "
                "USD per million tokens"
            )
        self.price, self.max_cost, self.spent, self.is_exhausted = price, max_cost, 0.0, False
        self._held, self._under_way, self._changed = 0.0, 0, asyncio.Condition()
        self._excess, self.is_sure = (1.0, 1.0), max_cost is None

    def start(self, tokens: Iterable[tuple[int, int, float | None, int | None]], at_most: int) -> None:
        """Count what earlier runs have paid, answers of unknown cost at today's price, and learn from it."""
        costs = []
        for said, answered, cost, estimate in tokens:
            costs.append(cost if cost is not None else self.price.of(said, answered) or 0.0)
            if estimate is not None:
                self.learn(said, answered, estimate, at_most)
        self.spent = math.fsum(costs)

    def learn(self, said: int, answered: int, estimate: int, at_most: int) -> None:
        """Compare the tokens of an answer, in and out, with what they were thought to be."""
        more = said / max(1, estimate), answered / at_most
        self._excess, self.is_sure = (max(more[0], self._excess[0]), max(more[1], self._excess[1])), True

    def bound(self, estimate: int, at_most: int) -> float:
        """The most that a request is thought to cost, USD."""
        return self.price.of(estimate * self._excess[0], at_most * self._excess[1]) or 0.0

    def fits(self, cost: float) -> bool:
        return self.max_cost is None or self.spent + self._held + cost <= self.max_cost

    @asynccontextmanager
    async def held(self, bound: Callable[[], float]) -> AsyncIterator[None]:
        """Room for a request, kept while it is under way; waits where others under way may leave room.

        While nothing is known of how good the estimates are, one request goes at a time.

        Raises:
            Spent: it does not fit, and neither does anything after it.
        """
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
