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
    """From `attempt` on, of this iteration of this stage, passes hold at most `tokens`."""

    stage: str
    iteration: int
    attempt: int
    tokens: int

    def holds_at(self, stage: str, iteration: int, attempt: int) -> bool:
        """Whether a pass comes after it; stages that were run before are over."""
        return stage != self.stage or (iteration, attempt) >= (self.iteration, self.attempt)


class Budget:
    """Tokens a pass may hold, halved where the memory was not enough; a continued run cuts as it did.

    Args:
        tokens: with gradients; a pass that keeps only its cache may hold `CACHED` times as many. None = no limit.
        file: keeps the halvings, and those of an earlier part of the run.

    Raises:
        InputError: a number that is none, or a file that is not readable.
    """

    def __init__(self, tokens: int | None = None, file: Path | None = None) -> None:
        check_positive("engine.tokens", tokens)
        self.asked, self.file = tokens, file
        self.halvings: list[Halving] = []
        self.stage, self.iteration, self.attempt = "", 0, 0
        self.largest, self.least = 0, 0  # part of the current attempt, and what a part cannot be smaller than
        if file is not None and file.is_file():
            self._load(file)

    def _load(self, file: Path) -> None:
        try:
            state = json.loads(file.read_text(encoding="utf-8"))
            halvings = [Halving(**h) for h in state["halvings"]]
            stored = state["asked"]
            check_positive(f"{file}: asked", stored)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{file}: not readable as an engine's budget ({error}): restore it, or remove it"
            ) from None
        if self.asked in (None, stored):
            self.asked, self.halvings = stored, halvings

    def check(self, prompt: int, answer: int, record: str) -> None:
        """Refuse a budget that the longest prompt with its answer is above; `record` has it.

        Raises:
            InputError: saying how many tokens are needed.
        """
        if self.tokens is not None and prompt + answer > self.tokens:
            raise InputError(f"{record}: {self._too_small(prompt + answer, False)}")

    def begin(self, stage: str, iteration: int) -> None:
        """What comes next belongs to this iteration."""
        self.stage, self.iteration, self.attempt = stage, iteration, 0

    @property
    def tokens(self) -> int | None:
        """The limit here and now."""
        here = [h.tokens for h in self.halvings if h.holds_at(self.stage, self.iteration, self.attempt)]
        return here[-1] if here else self.asked

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
        limit = None if self.tokens is None else self.tokens * (CACHED if cached else 1)

        def count(queries: Sequence[int], candidates: int) -> int:
            prompt, answer = (max(each[q] for q in queries) for each in (prompts, longest))
            once = 1 if shared and not cached else candidates
            return len(queries) * (once * prompt + candidates * answer)

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

    def _too_small(self, tokens: int, cached: bool) -> str:
        least = -(-tokens // CACHED) if cached else tokens
        return (
            f"engine.tokens={self.tokens}: one prompt with its answer takes {tokens} tokens, so at least {least} are "
            "needed: raise it, or lower model.processor's picture size or method.max_new_tokens"
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
        before = min(self.tokens or self.largest, self.largest or self.tokens or 1)
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
            f"{self._where}: out of memory, also with engine.tokens={self.tokens}: set engine.tokens lower, or take a "
            "smaller model or picture size (task=plan says what fits); resume=RUN_DIR continues"
        )

    @property
    def _where(self) -> str:
        return f"{self.stage}/iteration {self.iteration}"

    def _halve(self, before: int) -> None:
        tokens = max(before // 2, self.least)
        self.halvings.append(Halving(self.stage, self.iteration, self.attempt, tokens))
        release_memory()
        print(f"{self._where}: out of memory: engine.tokens {before} -> {self.tokens}, the step is repeated")
        self.save()

    def save(self) -> None:
        """Write the file, if there is one."""
        if self.file is not None:
            state = {"asked": self.asked, "halvings": [asdict(h) for h in self.halvings]}
            write_whole(self.file, json.dumps(state, indent=1) + "\n")
