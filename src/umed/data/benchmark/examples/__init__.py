"""Tiny SYNTHETIC benchmarks in the format of each release, every trap in them: `example` of a loader writes one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """What reading a written example must give.

    Args:
        items: id of a test item -> its answer type and gold answer.
        train: number of training items.
        options: how the loader is called besides `root`.
        lost: rows that make no question.
    """

    items: dict[str, tuple[str, str]]
    train: int = 0
    options: tuple[tuple[str, object], ...] = ()
    lost: int = 0
