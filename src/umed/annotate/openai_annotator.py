"""`OpenAIAnnotator`: diagnoses by a language model with eyes, behind any OpenAI-compatible endpoint; paid once."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from umed.annotate.base import Stopped
from umed.annotate.batch import rounds
from umed.annotate.checks import Aliases
from umed.annotate.client import Endpoint
from umed.annotate.cost import Budget, Price, text_tokens
from umed.annotate.dialog import Dialog
from umed.annotate.journal import Journal
from umed.annotate.online import converse
from umed.annotate.session import Form, Session
from umed.annotate.wire import PATHS
from umed.errors import InputError, check_choice
from umed.records import Record


class OpenAIAnnotator:
    """Two turns a record: a diagnosis of the drawn region, then a reflection that puts it in the paper's order.

    Every paid answer is committed to the sqlite file `journal` before it is read; a later call with the same prompts,
    model, settings, picture, boxes and category replays it. A wrong reply gets one repair; then the record has failed.

    Args:
        prompt: `system`, `user`, `reflection` and `repair` text; see `Dialog`.
        queries: one is chosen for each record, by its id and `seed`; {modality} is filled in.
        base_url: None = the environment variable OPENAI_BASE_URL, else OpenAI.
        api: `chat` or `responses`.
        batch: use the Batch API and look for results every `poll_seconds`.
        concurrency: requests under way at once.
        tries, backoff, timeout, patience, requests_per_minute, tokens_per_minute: see `Endpoint`.
        max_cost: USD that all answers in the journal may cost; needs `price`.
        price: `input` and `output`, USD per million tokens; null = unknown.
        output_tokens: of a reply: `expected`, for estimates, and `at_most`, which is sent and counts for the cap.
        image_tokens: `base` and `tile`, see `cost.image_tokens`.
        dry_run: only `estimate` may be called.
        request: further fields of the request, `temperature` for one.
        aliases: other names of a category that count as naming it.

    Raises:
        InputError: wrong settings.
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        *,
        prompt: Mapping[str, str],
        queries: Sequence[str],
        journal: str | Path,
        output_tokens: Mapping[str, int],
        image_tokens: Mapping[str, int],
        price: Mapping[str, float | None],
        base_url: str | None = None,
        api: str = "chat",
        batch: bool = False,
        poll_seconds: float = 60.0,
        concurrency: int = 8,
        tries: int = 6,
        backoff: float = 0.5,
        timeout: float = 120.0,
        patience: float = 900.0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        max_cost: float | None = None,
        dry_run: bool = False,
        request: Mapping[str, Any] | None = None,
        aliases: Aliases | None = None,
        seed: int = 0,
    ) -> None:
        check_choice("annotator.api", api, *PATHS)
        for option, name in {"model": model, "journal": journal}.items():
            _check(option, name, isinstance(name, str | Path) and bool(str(name).strip()), "a name")
        for option, switch in {"batch": batch, "dry_run": dry_run}.items():
            _check(option, switch, isinstance(switch, bool), "true or false")
        for option, names in {"output_tokens": output_tokens, "image_tokens": image_tokens, "price": price}.items():
            _check(option, names, isinstance(names, Mapping), "a number for each of its names")
        _check("seed", seed, type(seed) is int, "a whole number")
        for option, count in {"concurrency": concurrency, "tries": tries}.items():
            _check(option, count, type(count) is int and count > 0, "a whole number above 0")
        for option, amount in {
            "poll_seconds": poll_seconds, "backoff": backoff, "timeout": timeout, "patience": patience,
        }.items():  # fmt: skip
            _check(option, amount, _is_number(amount) and amount > 0, "a number above 0")
        for option, maybe in {
            "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "max_cost": max_cost,
            "price.input": price.get("input"), "price.output": price.get("output"),
        }.items():  # fmt: skip
            _check(option, maybe, maybe is None or _is_number(maybe), "a number, or null,")
        if not queries or not all(isinstance(q, str) and q.strip() for q in queries):
            raise InputError("annotator.queries has no question, or an empty one: write at least one")
        for name, counts in {"output_tokens": output_tokens, "image_tokens": image_tokens}.items():
            if any(type(n) is not int or n < (name == "output_tokens") for n in counts.values()):
                raise InputError(f"annotator.{name}: whole numbers of tokens are expected")
        extra = dict(request or {})
        self._form = Form(model, api, dict(output_tokens), dict(image_tokens), extra)
        settings = {"model": model, "api": api, "at_most": output_tokens["at_most"], "request": extra}
        self._dialog = Dialog(prompt, settings, dict(aliases or {}))
        self._price = Price(price.get("input"), price.get("output"))
        self._max_cost, self._journal, self.dry_run = max_cost, Path(journal), dry_run
        self._queries, self._seed, self._concurrency = list(queries), seed, concurrency
        self._batch, self._poll_seconds = batch, poll_seconds
        self._endpoint = partial(
            Endpoint,
            base_url,
            tries=tries,
            backoff=backoff,
            timeout=timeout,
            patience=patience,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        self._endpoint(), Budget(self._price, max_cost)  # what is wrong is told before the run

    def annotate(self, records: Iterable[Record], roots: Mapping[str, Path]) -> list[Record]:
        """Every record with its texts, or without and with the reason under `provenance.annotation`.

        Raises:
            InputError: no key, a journal that cannot be used, an id that occurs twice.
            Stopped: the endpoint is down or refuses, the money is spent, or Ctrl-C was pressed.
        """
        records = list(records)
        if self.dry_run:
            raise InputError("annotator.dry_run=true only estimates: use it with task=annotate")
        for name, count in Counter(r.id for r in records).most_common(1):
            if count > 1:
                raise InputError(f"record id {name} occurs {count} times: each must be there once")
        if not records:
            return []
        endpoint, budget = self._endpoint(), Budget(self._price, self._max_cost)
        with (
            Journal(self._journal) as journal,
            Session(
                records, roots, self._form, self._dialog, budget, journal, self._queries, self._seed, endpoint.name
            ) as session,
        ):
            try:
                asyncio.run(self._run(session, endpoint))
            except KeyboardInterrupt:
                session.stop_interrupted()
        if session.stopped:
            raise Stopped(session.told(), session.results())
        return session.results()

    async def _run(self, session: Session, endpoint: Endpoint) -> None:
        async with endpoint:
            if self._batch or session.journal.open_batches(endpoint.name):
                await rounds(session, endpoint, self._poll_seconds, submits=self._batch)
            if not self._batch and not session.stopped:
                await converse(session, endpoint, self._concurrency)

    def estimate(self, records: Sequence[Record]) -> str:
        """What annotating would take: an estimate without repairs; nothing is opened or sent."""
        expected = self._form.output_tokens["expected"]
        said = 0
        for record in records:
            first = self._form.tokens(record, self._dialog.opening(record))
            said += 2 * first + expected + text_tokens(self._dialog.prompt["reflection"])
        answered = 2 * expected * len(records)
        cost = self._price.of(said, answered)
        told = "unknown: set annotator.price.input and annotator.price.output" if cost is None else f"about ${cost:.2f}"
        most = 2 * self._form.output_tokens["at_most"] * len(records)
        return (
            f"dry run: {len(records)} records to annotate with {self._form.model}, {2 * len(records)} requests\n"
            f"estimated tokens in: {said:,} (text: 4 characters a token; pictures: annotator.image_tokens)\n"
            f"estimated tokens out: {answered:,} (at most {most:,})\n"
            f"estimated cost: {told} (without repairs; paid answers in a journal are not deducted)"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


def _check(option: str, value: object, is_fine: bool, wanted: str) -> None:
    if not is_fine:
        raise InputError(f"annotator.{option}={'null' if value is None else value}: {wanted} is expected")
