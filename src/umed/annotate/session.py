"""`Session`: what one call of the annotator knows: which records are done, what was paid, whether to go on."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from umed.annotate.base import choices_of
from umed.annotate.client import NoAnswer
from umed.annotate.cost import Budget, image_tokens, text_tokens
from umed.annotate.dialog import Ask, Dialog, Told
from umed.annotate.journal import Answer, Journal, Sent
from umed.annotate.sent_picture import SentPicture, sent_size
from umed.annotate.wire import Message, body_of, reply_of
from umed.errors import InputError
from umed.records import Record, add_text

UNANSWERED = 4  # requests in a row (at least `concurrency`) that bring no answer and end the run


@dataclass(frozen=True)
class Form:
    """How requests are written and what they are thought to cost: see `OpenAIAnnotator`."""

    model: str
    api: str
    output_tokens: Mapping[str, int]
    image_tokens: Mapping[str, int]
    request: Mapping[str, Any]

    def body(self, ask: Ask, picture: str, with_format: bool) -> dict[str, Any]:
        shape = ask.schema if with_format else None
        at_most = self.output_tokens["at_most"]
        return body_of(self.api, self.model, ask.messages, picture, shape, at_most, self.request)

    def tokens(self, record: Record, messages: Sequence[Message]) -> int:
        """An estimate of the tokens of a request."""
        pictures = sum(m.has_picture for m in messages)
        sent = image_tokens(*sent_size(record.width, record.height, record.boxes), self.image_tokens)
        return sum(text_tokens(m.text) for m in messages) + pictures * sent


class Session:
    """The records by their number; `done` holds those that are finished, well or not."""

    def __init__(
        self,
        records: Sequence[Record],
        roots: Mapping[str, Path],
        form: Form,
        dialog: Dialog,
        budget: Budget,
        journal: Journal,
        queries: Sequence[str],
        seed: int,
        endpoint: str,
    ) -> None:
        self.records, self.roots, self.form, self.dialog = records, roots, form, dialog
        self.budget, self.journal, self._queries, self._seed = budget, journal, queries, seed
        self.done: dict[int, Record] = {}
        self.unanswered: set[int] = set()  # of those in `done`
        self.has_heard, self.stopped = False, ""
        self._in_row, self._ok, self._endpoint = 0, 0, endpoint
        self._last_failure: NoAnswer | None = None

    def __enter__(self) -> Self:
        self.budget.start(self.journal.tokens(), self.form.output_tokens["at_most"])
        self._bar = tqdm(total=len(self.records), desc="annotating", unit="record", disable=None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._bar.close()

    async def look(self, number: int) -> SentPicture | None:
        """The record's picture; without one the record has failed."""
        record = self.records[number]
        try:
            return await asyncio.to_thread(SentPicture, record, self.roots)
        except InputError as error:
            self._fail(number, "no readable picture", (), detail=str(error))
            return None

    def step(self, number: int, picture: SentPicture) -> Ask | None:
        """The next request of a record, or None: it is done."""
        step = self.dialog.step(self.records[number], picture.hash, self.journal)
        if isinstance(step, Ask):
            return step
        if step.diagnosis is None:
            self._fail(number, step.problem, step.answers)
        else:
            self._succeed(number, step)
        return None

    def bound(self, ask: Ask) -> float:
        """The most that a request is thought to cost, USD."""
        return self.budget.bound(self.form.tokens(ask.record, ask.messages), self.form.output_tokens["at_most"])

    def sent(self, ask: Ask) -> Sent:
        return Sent(ask.key, ask.record.id, ask.turn, self.form.tokens(ask.record, ask.messages))

    def keep(self, paid: Sequence[tuple[Sent, str]]) -> None:
        """Commit the bodies of paid answers."""
        answers = []
        for sent, body in paid:
            tokens = reply_of(body).tokens or (sent.tokens, self.form.output_tokens["expected"])
            if self.journal.get(sent.key) is None:
                cost = self.budget.price.of(*tokens)
                answers.append(Answer(*sent[:3], body, *tokens, cost, estimate=sent.tokens))
                self.budget.learn(*tokens, sent.tokens, self.form.output_tokens["at_most"])
        self.journal.put(answers)
        self.budget.spent += sum(a.cost or 0.0 for a in answers)
        if paid:
            self.has_heard, self._in_row = True, 0

    def fail_unanswered(self, number: int, error: NoAnswer) -> None:
        """The record has failed for now: a later run asks again."""
        self.unanswered.add(number)
        self._last_failure = error
        self._fail(number, f"no answer: {error.reason}", ())

    def count_unanswered(self, error: NoAnswer, concurrency: int) -> None:
        """As many requests in a row without an answer as are under way at once end the run."""
        self._in_row += error.is_outage or not self.has_heard
        if self._in_row >= max(UNANSWERED, concurrency if self.budget.is_sure else 1):
            self.stop_outage(error)

    def check_heard(self) -> None:
        """At the end: no answer to any record, however few they are, is an endpoint that does not work."""
        if self._last_failure and not self.has_heard and not self._ok:
            self.stop_outage(self._last_failure)

    def stop_outage(self, error: NoAnswer) -> None:
        self._stop(
            f"{self._endpoint} brings no answer ({error.reason}): see that it is up and not overloaded, and check "
            "annotator.base_url, annotator.model and OPENAI_API_KEY"
        )

    def stop_spent(self) -> None:
        self._stop(
            f"the next request does not fit under annotator.max_cost={self.budget.max_cost:g} "
            f"(${self.budget.spent:.4f} spent): raise it"
        )

    def stop_interrupted(self) -> None:
        self._stop("interrupted")

    def _stop(self, why: str) -> None:
        self.stopped = self.stopped or why

    def told(self) -> str:
        """The one line of a run that was stopped."""
        open_ = len(self.records) - len(self.done) + len(self.unanswered)
        return (
            f"annotator: {self.stopped}; {len(self.records) - open_} of {len(self.records)} records are done, {open_} "
            f"to go: start again in the same run folder (hydra.run.dir), what {self.journal.path} holds is not paid "
            "again"
        )

    def results(self) -> list[Record]:
        """All records in order; after a stop, those without an answer are as they were."""
        kept = self.done.keys() - (self.unanswered if self.stopped else set())
        return [self.done[k] if k in kept else r for k, r in enumerate(self.records)]

    def _succeed(self, number: int, told: Told) -> None:
        record = self.records[number]
        query = choices_of(record, self._seed).choice(self._queries).replace("{modality}", record.modality)
        annotation = self._written(told.answers, "ok")
        self._ok += 1
        self._finish(number, add_text(record, query, told.diagnosis or "", annotator="openai", annotation=annotation))

    def _fail(self, number: int, reason: str, answers: Sequence[Answer], **more: str) -> None:
        annotation = self._written(answers, "failed", reason=reason, **more)
        self._finish(number, add_text(self.records[number], "", "", annotator="openai", annotation=annotation))

    def _written(self, answers: Sequence[Answer], status: str, **more: str) -> dict[str, Any]:
        """Who wrote a diagnosis, how, and for how much."""
        costs = [a.cost if a.cost is not None else self.budget.price.of(a.input, a.output) for a in answers]
        known = {} if None in costs else {"cost_usd": round(sum(c or 0.0 for c in costs), 8)}
        return {
            "status": status,
            **more,
            "model": self.form.model,
            "endpoint": self._endpoint,
            "api": self.form.api,
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
        self._bar.set_postfix(ok=self._ok, failed=len(self.done) - self._ok, cost=cost, refresh=False)
        self._bar.update()
