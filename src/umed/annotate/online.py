"""Conversations one request at a time, several records at once."""

import asyncio
from functools import partial

from umed.annotate.cost import Spent
from umed.annotate.session import Session
from umed.llm.failures import NoAnswer
from umed.llm.limits import for_each


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
