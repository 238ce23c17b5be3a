"""The same conversations through the Batch API: each round sends what comes next for every record, and waits."""

import asyncio
import hashlib
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import openai
from openai import AsyncOpenAI
from openai.types import Batch

from umed.annotate.client import Endpoint, NoAnswer
from umed.annotate.dialog import Ask
from umed.annotate.journal import Sent
from umed.annotate.session import Session
from umed.annotate.wire import PATHS

MOST_REQUESTS, MOST_BYTES = 50_000, 180_000_000  # of one batch
TRIES = 2  # of a request, in one run
TRANSFER = 1800.0  # seconds for one file
ENDED = ("completed", "failed", "expired", "cancelled")
log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class _Unanswered:
    """What a run has learnt about requests that came back without an answer."""

    tries: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)  # perhaps for their format: they are tried without

    def add(self, key: str, reason: str) -> None:
        self.tries[key] += 1
        self.reasons[key] = reason


class _Requests:
    """A file of requests, written as they come: pictures of many records are never held at once."""

    def __init__(self, path: Path) -> None:
        self.path, self.sent, self._size = path, list[Sent](), 0
        self._file = path.open("wb")

    def has_room(self, line: bytes) -> bool:
        return len(self.sent) < MOST_REQUESTS and self._size + len(line) <= MOST_BYTES

    def add(self, sent: Sent, line: bytes) -> None:
        self.sent.append(sent)
        self._size += self._file.write(line)

    def close(self) -> None:
        self._file.close()


async def rounds(session: Session, endpoint: Endpoint, poll_seconds: float, *, submits: bool) -> None:
    """Bring every record to its end; a batch that an earlier run has submitted is waited for, not sent again.

    Args:
        submits: False = only wait for the batches of earlier runs.
    """
    unanswered = _Unanswered()
    try:
        await _recover(session, endpoint)
        while not session.stopped:
            is_waiting = session.journal.open_batches(endpoint.name)
            if not is_waiting and not (submits and await _submit(session, endpoint, unanswered)):
                return session.check_heard()
            await _collect(session, endpoint, unanswered, poll_seconds)
    except NoAnswer as error:
        session.stop_outage(error)


async def _find(client: AsyncOpenAI, name: str) -> Batch | None:
    """The batch of this name among those that the endpoint lists."""
    async for batch in client.batches.list(limit=100):
        if (batch.metadata or {}).get("umed") == name:
            return batch
    return None


async def _recover(session: Session, endpoint: Endpoint) -> None:
    """A run may have been killed while it submitted: what the endpoint does not know was not submitted."""
    for name, _, batch in session.journal.open_batches(endpoint.name):
        if batch is None:
            found = await endpoint.call(lambda client, n=name: _find(client, n))  # type: ignore[misc]
            if found:
                session.journal.submitted(name, found.id)
            else:
                session.journal.end_batch(name)


async def _submit(session: Session, endpoint: Endpoint, unanswered: _Unanswered) -> bool:
    """Send the next request of every record that has one and for which there is money; whether any was sent."""
    path = session.journal.path.with_name(session.journal.path.name + ".part")
    held, has_sent, requests = 0.0, False, _Requests(path)
    try:
        async for ask, line in _next(session, endpoint, unanswered):
            held += session.bound(ask)
            if not session.budget.fits(held):
                if not has_sent and not requests.sent:
                    session.stop_spent()
                break
            if not requests.has_room(line):
                await _send(session, endpoint, requests)
                has_sent, requests = True, _Requests(path)
            requests.add(session.sent(ask), line)
            if not session.budget.is_sure:
                break  # its answer tells how good the estimates are
        if requests.sent:
            await _send(session, endpoint, requests)
            has_sent = True
    finally:
        requests.close()
        path.unlink(missing_ok=True)
    return has_sent


async def _next(session: Session, endpoint: Endpoint, unanswered: _Unanswered) -> AsyncIterator[tuple[Ask, bytes]]:
    """The next request of each record that is not done, with its line of the file."""
    for number in range(len(session.records)):
        if session.stopped or number in session.done:
            continue
        picture = await session.look(number)
        ask = session.step(number, picture) if picture else None
        if picture is None or ask is None:
            continue
        if unanswered.tries[ask.key] >= TRIES:
            error = NoAnswer(unanswered.reasons[ask.key])
            session.fail_unanswered(number, error)
            if not session.budget.is_sure:
                session.count_unanswered(error, 1)  # one at a time: not every record is tried
            continue
        body = session.form.body(ask, picture.url(), endpoint.takes_format and ask.key not in unanswered.refused)
        line = {"custom_id": ask.key, "method": "POST", "url": f"/v1{PATHS[session.form.api]}", "body": body}
        yield ask, json.dumps(line).encode() + b"\n"


async def _send(session: Session, endpoint: Endpoint, requests: _Requests) -> None:
    """Upload the requests and create their batch, noted before and after."""
    requests.close()
    keys = [session.journal.batch_count(), *(s.key for s in requests.sent)]
    name = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:32]
    session.journal.begin_batch(name, requests.sent, endpoint.name)
    has_tried = False

    async def upload(client: AsyncOpenAI) -> str:
        with requests.path.open("rb") as file:
            return (await client.files.create(file=("requests.jsonl", file), purpose="batch")).id

    async def create(client: AsyncOpenAI) -> str:
        nonlocal has_tried
        found = await _find(client, name) if has_tried else None  # a lost reply may be of a batch that is under way
        has_tried = True
        if found is None:
            found = await client.batches.create(
                input_file_id=file_id,
                endpoint="/v1/chat/completions" if session.form.api == "chat" else "/v1/responses",
                completion_window="24h",
                metadata={"umed": name},
                extra_headers={"Idempotency-Key": name},
            )
        return found.id

    file_id = await endpoint.call(upload, timeout=TRANSFER)
    session.journal.submitted(name, await endpoint.call(create))


async def _collect(session: Session, endpoint: Endpoint, unanswered: _Unanswered, poll_seconds: float) -> None:
    """Wait for the batches under way and commit what they bring."""
    waiting = session.journal.open_batches(endpoint.name)
    while waiting:
        for name, sent, number in list(waiting):
            batch = await _known(endpoint, lambda client, n=number: client.batches.retrieve(str(n)))  # type: ignore[misc]
            if batch is None:
                log.warning("annotator: %s no longer knows batch %s: asking again", endpoint.name, number)
                for request in sent:
                    unanswered.add(request.key, "the endpoint no longer knows its batch")
            elif batch.status in ENDED:
                await _read(session, endpoint, unanswered, batch, sent)
            else:
                continue
            session.journal.end_batch(name)
            waiting.remove((name, sent, number))
        if waiting:
            await asyncio.sleep(poll_seconds)


async def _known(
    endpoint: Endpoint, request: Callable[[AsyncOpenAI], Awaitable[T]], timeout: float | None = None
) -> T | None:
    """What a request returns; None: the endpoint does not know, or no longer, what was asked for."""
    try:
        return await endpoint.call(request, timeout=timeout)
    except NoAnswer as error:
        if isinstance(error.__cause__, openai.NotFoundError):
            return None
        raise


async def _read(
    session: Session, endpoint: Endpoint, unanswered: _Unanswered, batch: Batch, sent: Sequence[Sent]
) -> None:
    """Commit the answers of a batch that has ended, in whatever way; note what is missing."""
    by_key, paid, reasons = {s.key: s for s in sent}, dict[str, str](), dict[str, str]()
    for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
        content = await _known(endpoint, lambda client, f=file_id: client.files.content(f), TRANSFER)  # type: ignore[misc]
        if content is None:
            log.warning("annotator: %s no longer has the results of batch %s: asking again", endpoint.name, batch.id)
            continue
        for text in content.text.split("\n"):  # not splitlines: a JSON text may hold other line ends
            key, status, body = _line(text)
            if key in by_key and status == 200:
                paid[key] = endpoint.without_key(json.dumps(body))
                if key in unanswered.refused:
                    endpoint.takes_format = False  # it was the format: some servers know none
            elif key in by_key:
                reasons[key] = f"status {status} in a batch" if status else "an error in a batch"
                if status in (400, 422):
                    unanswered.refused.add(key)
    session.keep([(by_key[key], body) for key, body in paid.items()])
    errors = batch.errors.data if batch.errors and batch.errors.data else []
    why = f" ({endpoint.without_key(errors[0].message or '')[:200]})" if errors else ""
    for key in by_key.keys() - paid.keys():
        unanswered.add(key, reasons.get(key, f"its batch ended as {batch.status}{why}"))


def _line(text: str) -> tuple[str, int | None, Any]:
    """Key, status and body in a line of a result file; a line that is none has no key."""
    try:
        value = json.loads(text)
        response = value.get("response") or {}
        return str(value["custom_id"]), response.get("status_code"), response.get("body")
    except (ValueError, KeyError, AttributeError, RecursionError):
        return "", None, None
