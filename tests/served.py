"""Fixtures of tests that ask an endpoint: one server on the loopback interface, and waits that are read, not slept.

A room's conftest.py imports them.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

SECRET = "sk-test-0123456789-never-show-me"
CHAT = "/v1/chat/completions"
Reply = Callable[[dict[str, Any]], Response]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith("OPENAI_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(Path(__file__).parent))  # each client would read all certificates for none


class Clock:
    """A clock that waiting sets forward; `waits` are the seconds that were asked for."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def now(self) -> float:
        return time.monotonic() + sum(self.waits)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("umed.llm.endpoint.sleep", clock.sleep)
    monkeypatch.setattr("umed.llm.endpoint.monotonic", clock.now)
    return clock


@pytest.fixture(scope="session")
def make_httpserver() -> Iterator[HTTPServer]:
    """Serves several requests at once, unlike the package's own."""
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield server


def json_response(value: Any, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(value), status, headers, content_type="application/json")


def completion(content: Any, finish: str = "stop", **fields: Any) -> Response:
    """An answer of the chat API."""
    message = {"role": "assistant", "content": content, **fields}
    return json_response({"object": "chat.completion", "choices": [{"message": message, "finish_reason": finish}]})


@pytest.fixture
def serve(httpserver: HTTPServer) -> Callable[[Reply], list[dict[str, Any]]]:
    """`serve(reply)`: answer every chat request with `reply(body)`; the bodies that came, with the headers."""

    def start(reply: Reply) -> list[dict[str, Any]]:
        came: list[dict[str, Any]] = []

        def handler(request: Request) -> Response:
            body = request.get_json()
            came.append({**body, "headers": dict(request.headers)})
            return reply(body)

        httpserver.clear()
        httpserver.expect_request(CHAT).respond_with_handler(handler)
        return came

    return start
