"""The same conversations through the Batch API: each round sends what comes next for every record, and waits."""

import hashlib
import json
import logging
from asyncio import sleep
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import openai
from openai import AsyncOpenAI
from openai.types import Batch

from umed.annotate.dialog import NextTurn
from umed.annotate.session import Session
from umed.llm.endpoint import NO_FORMAT
from umed.llm.failures import NoAnswer, find_field, name_status, without_key
from umed.llm.journal import Sent

MOST_REQUESTS, MOST_BYTES = 50_000, 180_000_000  # of one batch
TRIES = 2  # of a request, in one run
TRANSFER = 1800.0  # seconds for one file
ENDED = ("completed", "failed", "expired", "cancelled")
log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class _Unanswered:
    """What a run has learned about requests that came back without an answer: why, for each try."""

    errors: dict[str, list[NoAnswer]] = field(default_factory=lambda: defaultdict(list))
    refused: set[str] = field(default_factory=set)  # perhaps for their format: they are tried without


async def run_rounds(session: Session, poll_seconds: float, *, submits: bool) -> None:
    """Bring every record to its end; earlier runs' batches are waited for, and only they unless it `submits`."""
    unanswered = _Unanswered()
    try:
        await _recover(session)
        while not session.stopped:
            is_waiting = session.journal.open_batches(session.endpoint.name)
            if not is_waiting and not (submits and await _submit(session, unanswered)):
                return session.check_heard()
            await _collect(session, unanswered, poll_seconds)
    except NoAnswer as error:
        session.stop_outage(error)


async def _find(client: AsyncOpenAI, name: str) -> Batch | None:
    """The batch of this name among those that the endpoint lists."""
    async for batch in client.batches.list(limit=100):
        if (batch.metadata or {}).get("umed") == name:
            return batch
    return None


async def _recover(session: Session) -> None:
    """A run may have been killed while it submitted: what the endpoint does not know was not submitted."""
    for name, _, batch in session.journal.open_batches(session.endpoint.name):
        if batch is None:
            found = await session.endpoint.call(lambda client, n=name: _find(client, n))  # type: ignore[misc]
            if found:
                session.journal.note_submitted(name, found.id)
            else:
                session.journal.end_batch(name)


async def _submit(session: Session, unanswered: _Unanswered) -> bool:
    """Send the next request of every record that has one and for which there is money; whether any was sent."""
    held, has_sent, requests, size = 0.0, False, dict[Sent, bytes](), 0
    async for turn, line in _next_requests(session, unanswered):
        held += session.bound_cost(turn)
        if not session.budget.fits(held):
            if not has_sent and not requests:
                session.stop_spent()
            break
        if len(requests) == MOST_REQUESTS or (requests and size + len(line) > MOST_BYTES):
            await _send(session, requests)
            has_sent, requests, size = True, {}, 0
        requests[session.note_sent(turn)], size = line, size + len(line)
        if not session.budget.is_sure:
            break  # its answer shows how good the estimates are
    if requests:
        await _send(session, requests)
    return has_sent or bool(requests)


async def _next_requests(session: Session, unanswered: _Unanswered) -> AsyncIterator[tuple[NextTurn, bytes]]:
    """The next request of each record that is not done, with its line of the file."""
    for number in range(len(session.records)):
        if session.stopped or number in session.done:
            continue
        picture = await session.load_picture(number)
        turn = session.advance(number, picture) if picture else None
        if picture is None or turn is None:
            continue
        if len(errors := unanswered.errors[turn.key]) >= TRIES:
            session.fail_unanswered(number, errors[-1])
            if not session.budget.is_sure:
                session.count_unanswered(errors[-1], 1)  # one at a time: not every record is tried
            continue
        has_format = session.endpoint.takes_format and turn.key not in unanswered.refused
        body = session.dialog.body(turn, picture.url(), has_format)
        line = {"custom_id": turn.key, "method": "POST", "url": f"/v1{session.dialog.path}", "body": body}
        yield turn, json.dumps(line).encode() + b"\n"


async def _send(session: Session, requests: dict[Sent, bytes]) -> None:
    """Upload the requests and create their batch, noted before and after."""
    keys = [session.journal.count_batches(), *(sent.key for sent in requests)]
    name = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:32]
    session.journal.begin_batch(name, requests, session.endpoint.name)
    has_tried = False

    async def upload(client: AsyncOpenAI) -> str:
        file = ("requests.jsonl", b"".join(requests.values()))
        return (await client.files.create(file=file, purpose="batch")).id

    async def create(client: AsyncOpenAI) -> str:
        nonlocal has_tried
        batch = await _find(client, name) if has_tried else None  # a lost reply may be of a batch that is under way
        has_tried = True
        if batch is None:
            batch = await client.batches.create(
                input_file_id=file_id,
                endpoint=cast(Any, f"/v1{session.dialog.path}"),
                completion_window="24h",
                metadata={"umed": name},
                extra_headers={"Idempotency-Key": name},
            )
        return batch.id

    file_id = await session.endpoint.call(upload, timeout=TRANSFER)
    session.journal.note_submitted(name, await session.endpoint.call(create))


async def _collect(session: Session, unanswered: _Unanswered, poll_seconds: float) -> None:
    """Wait for the batches under way and commit what they bring."""
    endpoint = session.endpoint
    waiting = session.journal.open_batches(endpoint.name)
    while waiting:
        for name, sent, number in list(waiting):
            batch = await _call_known(session, lambda client, n=number: client.batches.retrieve(str(n)))  # type: ignore[misc]
            if batch is None:
                log.warning("annotator: %s no longer knows batch %s: asking again", endpoint.name, number)
                for request in sent:
                    unanswered.errors[request.key].append(NoAnswer("the endpoint no longer knows its batch"))
            elif batch.status in ENDED:
                await _read(session, unanswered, batch, sent)
            else:
                continue
            session.journal.end_batch(name)
            waiting.remove((name, sent, number))
        if waiting:
            await sleep(poll_seconds)


async def _call_known(
    session: Session, request: Callable[[AsyncOpenAI], Awaitable[T]], timeout: float | None = None
) -> T | None:
    """What a request returns; None: the endpoint does not know, or no longer, what was asked for."""
    try:
        return await session.endpoint.call(request, timeout=timeout)
    except NoAnswer as error:
        if isinstance(error.__cause__, openai.NotFoundError):
            return None
        raise


async def _read(session: Session, unanswered: _Unanswered, batch: Batch, sent: Sequence[Sent]) -> None:
    """Commit the answers of a batch that has ended, in whatever way; note what is missing."""
    by_key, paid, failed = {s.key: s for s in sent}, dict[str, str](), dict[str, NoAnswer]()
    endpoint = session.endpoint
    for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
        content = await _call_known(session, lambda client, f=file_id: client.files.content(f), TRANSFER)  # type: ignore[misc]
        if content is None:
            log.warning("annotator: %s no longer has the results of batch %s: asking again", endpoint.name, batch.id)
            continue
        for text in content.text.split("\n"):  # not splitlines: a JSON text may hold other line ends
            key, status, body = _read_line(text)
            if key in by_key and status == 200:
                paid[key] = without_key(json.dumps(body))
                if key not in unanswered.refused:
                    endpoint.has_taken_format |= endpoint.takes_format
                elif not endpoint.has_taken_format:
                    endpoint.takes_format = False  # it was the format: some servers know none
            elif key in by_key:
                error = body.get("error") if isinstance(body, dict) else None
                why = f"{name_status(status, error)} in a batch" if status else "an error in a batch"
                failed[key] = NoAnswer(why, status=status)
                failed[key].field = find_field(status, error, session.dialog.fields)
                if status in NO_FORMAT:
                    unanswered.refused.add(key)
    session.keep([(by_key[key], body) for key, body in paid.items()])
    errors = batch.errors.data if batch.errors and batch.errors.data else []
    why = f" ({without_key(errors[0].message or '')[:200]})" if errors else ""
    for key in by_key.keys() - paid.keys():
        unanswered.errors[key].append(failed.get(key) or NoAnswer(f"its batch ended as {batch.status}{why}"))


def _read_line(text: str) -> tuple[str, int | None, Any]:
    """Key, status and body in a line of a result file; a line that is none has no key."""
    try:
        value = json.loads(text)
        response = value.get("response") or {}
        return str(value["custom_id"]), response.get("status_code"), response.get("body")
    except (ValueError, KeyError, AttributeError, RecursionError):
        return "", None, None
