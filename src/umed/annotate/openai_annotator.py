"""`OpenAIAnnotator`: diagnoses by a vision-language model behind any OpenAI-compatible endpoint; paid once."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from umed.annotate.base import Stopped
from umed.annotate.batch import run_rounds
from umed.annotate.checks import Aliases
from umed.annotate.cost import Budget, ImageTokens, OutputTokens, Price, Prices, Spent, count_text_tokens
from umed.annotate.dialog import Dialog
from umed.annotate.session import Session
from umed.errors import InputError
from umed.llm.endpoint import Endpoint, Text, check_settings
from umed.llm.failures import NoAnswer
from umed.llm.journal import Journal
from umed.llm.limits import for_each
from umed.records import Record


class OpenAIAnnotator:
    """Two turns a record: a diagnosis of the drawn region, then a reflection that puts it in the paper's order.

    Every paid answer is committed to the sqlite file `journal` before it is read; a later call with the same prompts,
    model, settings, picture, boxes and category replays it. A wrong reply gets one repair; then the record has failed.
    Raises InputError: wrong settings.

    Args:
        prompt: `system`, `user`, `reflection` and `repair` text; see `Dialog`.
        queries: one is chosen for each record, by its id and `seed`; {modality} is filled in.
        batch: use the Batch API and look for results every `poll_seconds`.
        concurrency: requests under way at once.
        base_url, tries, backoff, timeout, patience, requests_per_minute, tokens_per_minute: see `Endpoint`.
        max_cost: USD that all answers in the journal may cost; needs `price`.
        price: USD per million tokens; null = unknown.
        output_tokens: of a reply: `expected`, for estimates, and `at_most`, which is sent and counts for the cap.
        image_tokens: see `cost.count_image_tokens`.
        dry_run: only `estimate` may be called.
        request: further fields of the request, `temperature` for one; null = not sent.
        aliases: other names of a category that count as naming it.
    """

    name = "openai"

    @check_settings("annotator")
    def __init__(
        self,
        model: Text,
        *,
        prompt: Mapping[str, Text],
        queries: Annotated[Sequence[Text], Field(min_length=1)],
        journal: Text | Path,
        output_tokens: OutputTokens,
        image_tokens: ImageTokens,
        price: Prices,
        base_url: str | None = None,
        api: Literal["chat", "responses"] = "chat",
        batch: bool = False,
        poll_seconds: PositiveFloat = 60.0,
        concurrency: PositiveInt = 8,
        tries: PositiveInt = 6,
        backoff: PositiveFloat = 0.5,
        timeout: PositiveFloat = 120.0,
        patience: PositiveFloat = 900.0,
        requests_per_minute: PositiveFloat | None = None,
        tokens_per_minute: PositiveFloat | None = None,
        max_cost: PositiveFloat | None = None,
        dry_run: bool = False,
        request: Mapping[str, Any] | None = None,
        aliases: Aliases | None = None,
        seed: int = 0,
    ) -> None:
        self._dialog = Dialog(
            model, api, prompt=prompt, queries=queries, seed=seed, output_tokens=output_tokens,
            image_tokens=image_tokens, request=dict(request or {}), aliases=aliases or {},
        )  # fmt: skip
        self._price, self._max_cost = Price(**price), max_cost
        self._journal, self.dry_run = Path(journal), dry_run
        self._concurrency, self._batch, self._poll_seconds = concurrency, batch, poll_seconds
        self._endpoint = Endpoint(
            "annotator", base_url, tries=tries, backoff=backoff, timeout=timeout, patience=patience,
            requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
        )  # fmt: skip
        Budget(self._price, max_cost)  # a cap without prices is refused before the run

    def annotate(self, records: Iterable[Record], roots: Mapping[str, Path]) -> list[Record]:
        """Each with texts or a reason. Raises InputError: key, journal, an id twice; Stopped: outage, money, Ctrl-C."""
        records = list(records)
        if self.dry_run:
            raise InputError("annotator.dry_run=true only estimates: use it with task=annotate")
        for name, count in Counter(r.id for r in records).most_common(1):
            if count > 1:
                raise InputError(f"record id {name} occurs {count} times: each must be there once")
        if not records:
            return []
        budget = Budget(self._price, self._max_cost)
        with (
            Journal(self._journal, "annotator.journal") as journal,
            Session(records, roots, self._dialog, self._endpoint, budget, journal) as session,
        ):
            try:
                asyncio.run(self._run(session))
            except KeyboardInterrupt:
                session.stop("interrupted")
        if session.stopped:
            raise Stopped(session.describe_stop(), session.results())
        return session.results()

    async def _run(self, session: Session) -> None:
        async with self._endpoint:
            if self._batch or session.journal.open_batches(self._endpoint.name):
                await run_rounds(session, self._poll_seconds, submits=self._batch)
            if not self._batch and not session.stopped:
                await converse(session, self._concurrency)

    def estimate(self, records: Sequence[Record]) -> str:
        """What annotating would take, without repairs; nothing is opened or sent."""
        dialog, tokens_in = self._dialog, 0
        expected = dialog.output_tokens["expected"]
        for record in records:
            first = dialog.count_tokens(record, dialog.opening(record))
            tokens_in += 2 * first + expected + count_text_tokens(dialog.prompt["reflection"])
        requests = 2 * len(records)
        cost = self._price.of(tokens_in, expected * requests)
        amount = (
            "unknown: set annotator.price.input and annotator.price.output" if cost is None else f"about ${cost:.2f}"
        )
        return (
            f"dry run: {len(records)} records to annotate with {dialog.model}, {requests} requests\n"
            f"estimated tokens in: {tokens_in:,} (text: 4 characters a token; pictures: annotator.image_tokens)\n"
            f"estimated tokens out: {expected * requests:,} (at most {dialog.at_most * requests:,})\n"
            f"estimated cost: {amount} (without repairs; paid answers in a journal are not deducted)"
        )


async def converse(session: Session, concurrency: int) -> None:
    """Bring every record to its end, or as many as the endpoint and the money allow."""

    async def work(number: int) -> None:
        if not session.stopped:
            await _finish(session, number, concurrency)

    await for_each(range(len(session.records)), concurrency, work)
    session.check_heard()


async def _finish(session: Session, number: int, concurrency: int) -> None:
    """Send one request after the other until the record is done; after a stop, none is begun."""
    picture = await session.load_picture(number)
    while picture is not None and not session.stopped and (turn := session.advance(number, picture)):
        url = await asyncio.to_thread(picture.url)
        try:
            async with session.budget.hold(partial(session.bound_cost, turn)):
                if session.stopped:
                    return
                sent = session.note_sent(turn)
                answer = await session.endpoint.ask(
                    session.dialog.path,
                    partial(session.dialog.body, turn, url),
                    key=turn.key,
                    tokens=sent.tokens + session.dialog.output_tokens["expected"],
                )
                session.keep([(sent, answer)])
        except Spent:
            session.stop_spent()
        except NoAnswer as error:
            session.fail_unanswered(number, error)
            session.count_unanswered(error, concurrency)
            return
