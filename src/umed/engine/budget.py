"""`Budget`: how many tokens a pass may hold, and how a batch is cut so that it holds no more."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from umed.engine.memory import is_out_of_memory, release_memory
from umed.errors import InputError, check_positive
from umed.run_files import write_whole

T = TypeVar("T")

CACHED = 16  # tokens in a key/value cache for one that keeps its activations: still far less memory
FILE = "engine.json"


@dataclass(frozen=True, slots=True)
class Part:
    """Some queries of a batch and some of their candidates, which go through the model together."""

    queries: list[int]
    candidates: range
    width: int  # of the widest answer

    def rows(self, num_candidates: int) -> Tensor:
        """The part's answers among the Q * G of the batch."""
        return torch.tensor([q * num_candidates + g for q in self.queries for g in self.candidates])


@dataclass(frozen=True, slots=True)
class Halving:
    """From this attempt of this iteration on, passes hold at most `tokens`."""

    iteration: int
    attempt: int
    tokens: int
    cached: bool = False  # whether it limits the passes that keep only a cache, or those with gradients

    def __post_init__(self) -> None:
        if any(type(number) is not int for number in (self.iteration, self.attempt, self.tokens)):
            raise TypeError(f"no numbers in {asdict(self)}")


class Budget:
    """Tokens a pass may hold, halved where the memory was not enough; a continued stage cuts as it did.

    Args:
        tokens: with gradients; a pass that keeps only its cache may hold `CACHED` times as many. None = those of the
            file, or no limit.
        file: keeps the numbers and halvings of all stages of a run. With another number than before, a stage begins
            anew with it.
        stage: that the budget is of.

    Raises:
        InputError: a number that is none, or a file that is not readable.
    """

    def __init__(self, tokens: int | None = None, file: Path | None = None, stage: str = "") -> None:
        check_positive("engine.tokens", tokens)
        self.initial, self.file, self.stage = tokens, file, stage
        self.halvings: list[Halving] = []
        self.iteration, self.attempt = 0, 0
        self.largest, self.least = 0, 0  # part of the current attempt, and what a part cannot be smaller than
        self.cached = False  # the kind of pass that was cut last
        stored, halvings = self._read().get(stage, (None, []))
        if stored is not None and tokens in (None, stored):
            self.initial, self.halvings = stored, halvings

    def _read(self) -> dict[str, tuple[int | None, list[Halving]]]:
        """Number and halvings of each stage in the file."""
        if self.file is None or not self.file.is_file():
            return {}
        try:
            state = json.loads(self.file.read_text(encoding="utf-8"))
            stages = {stage: (of["tokens"], [Halving(**h) for h in of["halvings"]]) for stage, of in state.items()}
            for tokens, _ in stages.values():
                check_positive("tokens", tokens)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            raise InputError(
                f"{self.file}: not readable as an engine's budget ({error}): restore it, or remove it"
            ) from None
        return stages

    def check(self, tokens: int, record: str) -> None:
        """Refuse a budget that a record is above, with so many tokens of its prompt and answer.

        Raises:
            InputError: saying how many tokens are needed.
        """
        if self.initial is not None and tokens > self.initial:
            raise InputError(f"{record}: {self._too_small(tokens, False)}")

    def begin(self, iteration: int) -> None:
        """What comes next belongs to this iteration."""
        self.iteration, self.attempt = iteration, 0

    @property
    def tokens(self) -> int | None:
        """The limit here and now."""
        return self._limit(False)

    def _limit(self, cached: bool) -> int | None:
        now = (self.iteration, self.attempt)
        here = [h.tokens for h in self.halvings if h.cached == cached and now >= (h.iteration, h.attempt)]
        return here[-1] if here else self.initial

    def cut(
        self,
        prompts: Sequence[int],
        answers: Sequence[int],
        *,
        cached: bool,
        shared: bool = True,
    ) -> list[Part]:
        """Parts within the limit, queries of similar length together; the whole batch as it stands where it fits.

        Args:
            prompts: tokens of each of the Q prompts.
            answers: tokens of each of the Q * G answers.
            cached: the pass keeps no activations, but a cache in which every answer has its prompt.
            shared: the answers to a query share the pass over its prompt.

        Raises:
            InputError: one prompt with one answer is above the limit.
        """
        g = len(answers) // len(prompts)
        longest = [max(answers[q * g : (q + 1) * g]) for q in range(len(prompts))]
        limit = self._limit_of_pass(cached)
        self.cached = cached

        def count(queries: Sequence[int], candidates: int) -> int:
            return _count([prompts[q] for q in queries], [longest[q] for q in queries], candidates, cached, shared)

        def part(queries: list[int], candidates: range) -> Part:
            tokens = count(queries, len(candidates))
            self.largest = max(self.largest, tokens // CACHED if cached else tokens)
            width = max(answers[q * g + c] for q in queries for c in candidates)
            return Part(queries, candidates, width)

        every = list(range(len(prompts)))
        single = max(count([q], 1) for q in every)
        self.least = max(self.least, -(-single // CACHED) if cached else single)
        if limit is None or count(every, g) <= limit:
            return [part(every, range(g))]
        parts, together = [], list[int]()
        for q in sorted(every, key=lambda q: (prompts[q] + longest[q], q)):
            if together and count([*together, q], g) > limit:
                parts.append(part(together, range(g)))
                together = []
            if count([q], g) <= limit:
                together.append(q)
                continue
            most = next((n for n in range(g - 1, 0, -1) if count([q], n) <= limit), 0)
            if not most:
                raise InputError(self._too_small(single, cached))
            parts += [part([q], range(c, min(c + most, g))) for c in range(0, g, most)]
        return [*parts, part(together, range(g))] if together else parts

    def fits(self, prompts: Sequence[int], answers: Sequence[int], *, cached: bool, shared: bool = True) -> bool:
        """Whether one part would hold them all; see `cut`."""
        limit, candidates = self._limit_of_pass(cached), len(answers) // len(prompts)
        return limit is None or _count(prompts, answers, candidates, cached, shared) <= limit

    def _limit_of_pass(self, cached: bool) -> int | None:
        tokens = self._limit(cached)
        return None if tokens is None else tokens * (CACHED if cached else 1)

    def _too_small(self, tokens: int, cached: bool) -> str:
        least = -(-tokens // CACHED) if cached else tokens
        return (
            f"engine.tokens={self._limit(cached)}: one prompt with its answer takes {tokens} tokens, so at least "
            f"{least} are needed: raise it, or lower model.processor's picture size or method.max_new_tokens"
        )

    def run(self, step: Callable[[], T]) -> T:
        """The result of a step; once, where the memory is not enough, it is repeated with half the tokens.

        Args:
            step: can be repeated without a trace of the first try.

        Raises:
            InputError: the memory is not enough for half the tokens either.
        """
        self.attempt += 1
        self.largest, self.least = 0, 0
        try:
            return step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        tokens = self._limit(self.cached)
        before = min(tokens or self.largest, self.largest or tokens or 1)
        if before <= self.least:
            raise InputError(self._not_enough())
        self._halve(before)
        try:
            return step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(self._not_enough()) from None

    def _not_enough(self) -> str:
        return (
            f"{self._where}: out of memory, also with engine.tokens={self._limit(self.cached)}: set "
            "engine.tokens lower, or take a "
            "smaller model or picture size (task=plan says what fits); resume=RUN_DIR continues"
        )

    @property
    def _where(self) -> str:
        return f"{self.stage}/iteration {self.iteration}"

    def _halve(self, before: int) -> None:
        tokens = max(before // 2, self.least)
        self.halvings.append(Halving(self.iteration, self.attempt, tokens, self.cached))
        release_memory()
        print(f"{self._where}: out of memory: engine.tokens {before} -> {tokens}, the step is repeated")
        self.save()

    def save(self) -> None:
        """Write the file, if there is one."""
        if self.file is not None:
            stages = {**self._read(), self.stage: (self.initial, self.halvings)}
            state = {name: {"tokens": n, "halvings": [asdict(h) for h in each]} for name, (n, each) in stages.items()}
            write_whole(self.file, json.dumps(state, indent=1) + "\n")


def _count(prompts: Sequence[int], answers: Sequence[int], candidates: int, cached: bool, shared: bool) -> int:
    """Tokens of a pass over prompts with so many answers each, all padded to the longest."""
    once = 1 if shared and not cached else candidates
    return len(prompts) * (once * max(prompts) + candidates * max(answers))
