"""`Session`: the state of one call of the annotator: which records are done, what was paid, whether to go on."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from umed.annotate.cost import Budget
from umed.annotate.dialog import Conclusion, Dialog, NextTurn
from umed.annotate.sent_picture import SentPicture
from umed.errors import InputError
from umed.llm.endpoint import Endpoint
from umed.llm.failures import NoAnswer
from umed.llm.journal import Answer, Journal, Sent
from umed.llm.request import read_reply
from umed.records import Record, add_text

UNANSWERED = 4  # requests in a row (at least `concurrency`) that bring no answer and end the run


class Session:
    """The records by their number; `done` holds those that are finished, well or not."""

    def __init__(
        self,
        records: Sequence[Record],
        roots: Mapping[str, Path],
        dialog: Dialog,
        endpoint: Endpoint,
        budget: Budget,
        journal: Journal,
    ) -> None:
        self.records, self.roots, self.dialog, self.endpoint = records, roots, dialog, endpoint
        self.budget, self.journal = budget, journal
        self.done: dict[int, Record] = {}
        self.unanswered: set[int] = set()  # of those in `done`
        self.has_heard, self.stopped = False, ""
        self._failures_in_row, self._succeeded = 0, 0
        self._last_failure: NoAnswer | None = None

    def __enter__(self) -> Self:
        self.budget.start(self.journal.tokens(), self.dialog.at_most)
        self._bar = tqdm(total=len(self.records), desc="annotating", unit="record", disable=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    async def load_picture(self, number: int) -> SentPicture | None:
        """The record's picture; without one the record has failed."""
        record = self.records[number]
        try:
            return await asyncio.to_thread(SentPicture, record, self.roots)
        except InputError as error:
            self._fail(number, "no readable picture", (), detail=str(error))
            return None

    def advance(self, number: int, picture: SentPicture) -> NextTurn | None:
        """The next request of a record, or None where it is done."""
        step = self.dialog.advance(self.records[number], picture.hash, self.journal)
        if isinstance(step, NextTurn):
            return step
        if step.diagnosis is None:
            self._fail(number, step.problem, step.answers)
        else:
            self._succeed(number, step.diagnosis, step)
        return None

    def bound_cost(self, turn: NextTurn) -> float:
        """The most that a request is estimated to cost, USD."""
        return self.budget.bound(self.dialog.count_tokens(turn.record, turn.messages), self.dialog.at_most)

    def note_sent(self, turn: NextTurn) -> Sent:
        return Sent(turn.key, turn.record.id, turn.turn, self.dialog.count_tokens(turn.record, turn.messages))

    def keep(self, paid: Sequence[tuple[Sent, str]]) -> None:
        """Commit the bodies of paid answers."""
        answers = []
        for sent, body in paid:
            if self.journal.get(sent.key) is None:
                tokens = read_reply(body).tokens or (sent.tokens, self.dialog.output_tokens["expected"])
                cost = self.budget.price.of(*tokens)
                answers.append(Answer(*sent[:3], body, *tokens, cost, estimate=sent.tokens))
                self.budget.learn(*tokens, sent.tokens, self.dialog.at_most)
        self.journal.put(answers)
        self.budget.spent += sum(a.cost or 0.0 for a in answers)
        if paid:
            self.has_heard, self._failures_in_row = True, 0

    def fail_unanswered(self, number: int, error: NoAnswer) -> None:
        """The record has failed for now: a later run asks again."""
        self.unanswered.add(number)
        self._last_failure = error
        self._fail(number, f"no answer: {error.reason}", ())

    def count_unanswered(self, error: NoAnswer, concurrency: int) -> None:
        """As many requests in a row without an answer as are under way at once end the run."""
        self._failures_in_row += error.is_outage or not self.has_heard
        if self._failures_in_row >= max(UNANSWERED, concurrency if self.budget.is_sure else 1):
            self.stop_outage(error)

    def check_heard(self) -> None:
        """At the end: no answer to any record, however few they are, means that the endpoint does not work."""
        if self._last_failure and not self.has_heard and not self._succeeded:
            self.stop_outage(self._last_failure)

    def stop_outage(self, error: NoAnswer) -> None:
        self.stop(f"{self.endpoint.name} brings no answer ({error.reason}): {self.endpoint.advise(error)}")

    def stop_spent(self) -> None:
        self.stop(
            f"the next request does not fit under annotator.max_cost={self.budget.max_cost:g} "
            f"(${self.budget.spent:.4f} spent): raise it"
        )

    def stop(self, why: str) -> None:
        """Begin no further request; the first reason counts."""
        self.stopped = self.stopped or why

    def describe_stop(self) -> str:
        """The one line of a run that was stopped."""
        remaining = len(self.records) - len(self.done) + len(self.unanswered)
        return (
            f"annotator: {self.stopped}; {len(self.records) - remaining} of {len(self.records)} records are done, "
            f"{remaining} to go: start again in the same run folder (hydra.run.dir), what {self.journal.path} holds is "
            "not paid again"
        )

    def results(self) -> list[Record]:
        """All records in order; after a stop, those without an answer are as they were."""
        kept = self.done.keys() - (self.unanswered if self.stopped else set())
        return [self.done[k] if k in kept else r for k, r in enumerate(self.records)]

    def _succeed(self, number: int, diagnosis: str, conclusion: Conclusion) -> None:
        record = self.records[number]
        query = self.dialog.choose_query(record)
        self._succeeded += 1
        annotation = self._annotation(conclusion.answers, "ok")
        self._finish(number, add_text(record, query, diagnosis, annotator="openai", annotation=annotation))

    def _fail(self, number: int, reason: str, answers: Sequence[Answer], **more: str) -> None:
        annotation = self._annotation(answers, "failed", reason=reason, **more)
        self._finish(number, add_text(self.records[number], "", "", annotator="openai", annotation=annotation))

    def _annotation(self, answers: Sequence[Answer], status: str, **more: str) -> dict[str, Any]:
        """Who wrote a diagnosis, how, and for how much."""
        costs = [a.cost if a.cost is not None else self.budget.price.of(a.input, a.output) for a in answers]
        known = {} if None in costs else {"cost_usd": round(sum(c or 0.0 for c in costs), 8)}
        return {
            "status": status,
            **more,
            "model": self.dialog.model,
            "endpoint": self.endpoint.name,
            "api": self.dialog.api,
            "prompt_sha256": self.dialog.prompt_sha256,
            "time": answers[-1].time if answers else datetime.now(UTC).isoformat(timespec="seconds"),
            "turns": len(answers),
            "repairs": sum(a.turn.endswith("repair") for a in answers),
            "tokens": {"input": sum(a.input for a in answers), "output": sum(a.output for a in answers)},
            **known,
        }

    def _finish(self, number: int, record: Record) -> None:
        self.done[number] = record
        cost = "unknown" if self.budget.price.of(0, 0) is None else f"${self.budget.spent:.4f}"
        failed = len(self.done) - self._succeeded
        self._bar.set_postfix(ok=self._succeeded, failed=failed, cost=cost, refresh=False)
        self._bar.update()
