"""Conversations one request at a time, several records at once."""

import asyncio
from collections.abc import Iterator
from functools import partial

from umed.annotate.client import Endpoint, NoAnswer
from umed.annotate.cost import Spent
from umed.annotate.session import Session
from umed.annotate.wire import PATHS


async def converse(session: Session, endpoint: Endpoint, concurrency: int) -> None:
    """Bring every record to its end, or as many as the endpoint and the money allow."""
    numbers = iter(range(len(session.records)))
    workers = [asyncio.create_task(_work(session, endpoint, numbers, concurrency)) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
        session.check_heard()
    finally:
        for worker in workers:
            worker.cancel()


async def _work(session: Session, endpoint: Endpoint, numbers: Iterator[int], concurrency: int) -> None:
    """Take one record after the other; after a stop, no request is begun."""
    for number in numbers:
        if session.stopped:
            return
        await _one(session, endpoint, number, concurrency)


async def _one(session: Session, endpoint: Endpoint, number: int, concurrency: int) -> None:
    picture = await session.look(number)
    while picture is not None and not session.stopped and (ask := session.step(number, picture)):
        url = await asyncio.to_thread(picture.url)
        try:
            async with session.budget.held(partial(session.bound, ask)):
                if session.stopped:
                    return
                sent = session.sent(ask)
                tokens = sent.tokens + session.form.output_tokens["expected"]
                answer = await endpoint.ask(
                    PATHS[session.form.api], partial(session.form.body, ask, url), ask.key, tokens
                )
                session.keep([(sent, answer)])
        except Spent:
            session.stop_spent()
        except NoAnswer as error:
            session.fail_unanswered(number, error)
            session.count_unanswered(error, concurrency)
            return
