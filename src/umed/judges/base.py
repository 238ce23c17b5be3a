"""What a judge is: it scores how well an answer agrees with the gold diagnosis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """One answer to judge; box notation is already removed from the texts.

    `others`: the source's categories that the picture does not show.
    """

    query: str
    gold: str
    answer: str
    category: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A score in [0, 1], or None when the judge failed, with the `reason`; a failure is never a score of 0."""

    score: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        assert self.score is None or 0 <= self.score <= 1, self.score


class Judge(Protocol):
    """Scores answers; one verdict for each item, in the items' order.

    A judge that spends its time waiting, for a server for one, may say so by an attribute `waits = True`: it is then
    asked in a thread of its own while other passes run.
    """

    def __call__(self, items: Sequence[JudgeItem], /) -> list[Verdict]: ...


class NamedJudge(Judge, Protocol):
    """A judge whose results name it."""

    model: str
