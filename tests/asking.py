"""An endpoint on the loopback interface, and requests to it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from served import completion
from werkzeug import Response

from umed.llm.endpoint import Endpoint
from umed.llm.failures import Fault, NoAnswer

FINE = completion("fine")
Make = Callable[..., Endpoint]


@pytest.fixture
def make(httpserver: HTTPServer) -> Make:
    def build(**settings: Any) -> Endpoint:
        defaults = {"base_url": httpserver.url_for("/v1"), "tries": 3, "timeout": 5.0, "patience": 60.0, "backoff": 1.0}
        return Endpoint("judge", **{**defaults, **settings})

    return build


def ask(endpoint: Endpoint, **fields: Any) -> str:
    def body(has_format: bool) -> dict[str, Any]:
        return {"model": "m", "messages": [], **({"response_format": {}} if has_format else {}), **fields}

    async def go() -> str:
        async with endpoint:
            return await endpoint.ask("/chat/completions", body, key="k", tokens=10)

    return asyncio.run(go())


def fail(endpoint: Endpoint, **fields: Any) -> NoAnswer:
    with pytest.raises(NoAnswer) as error:
        ask(endpoint, **fields)
    assert error.value.is_outage == (error.value.fault is not Fault.REQUEST)
    return error.value


def replies(*responses: Response) -> Callable[[dict[str, Any]], Response]:
    """One response after the other, the last one again and again."""
    left = list(responses)
    return lambda body: left.pop(0) if len(left) > 1 else left[0]
