"""How requests are repeated, given up, and told: against a server on the loopback interface."""

import asyncio
import json
import pickle
import random
import socket
import threading
from typing import Any

import httpx2
import openai
import pytest
from asking import FINE, Make, ask, fail, replies
from pytest_httpserver import HTTPServer
from served import SECRET, completion, json_response
from werkzeug import Response

from umed.errors import InputError
from umed.llm import endpoint as module
from umed.llm.failures import Fault


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_a_status_that_may_pass_is_tried_again(make: Make, serve: Any, clock: Any, status: int) -> None:
    came = serve(replies(Response("", status), Response("", status), FINE))
    assert json.loads(ask(make()))["choices"] and len(came) == 3
    assert 0.5 <= clock.waits[0] <= 1 <= clock.waits[1] <= 2, "doubled, with jitter"
    assert len({body["headers"]["Idempotency-Key"] for body in came}) == 1
    endpoint = make()
    endpoint.takes_format = False
    came = serve(replies(Response("", status)))
    error = fail(endpoint)
    assert (error.reason, error.fault, error.status) == (f"status {status}", Fault.FAILING, status)
    if status in (429, 503):
        assert len(came) > 6, "a busy endpoint is outlasted until the patience ends"
        came = serve(replies(Response("", status)))
        fail(make(unlimited=frozenset()))
    assert len(came) == 3


def test_waits_grow_to_a_limit_and_differ(make: Make, serve: Any, clock: Any) -> None:
    serve(replies(Response("", 502)))
    fail(make(tries=10, patience=1e6))
    most = [min(2.0**k, module.LONGEST_WAIT) for k in range(9)]
    assert all(longest / 2 <= wait <= longest for wait, longest in zip(clock.waits, most, strict=True))
    assert len({wait / longest for wait, longest in zip(clock.waits, most, strict=True)}) > 3


def test_the_time_that_the_endpoint_asks_for_is_waited(make: Make, serve: Any, clock: Any) -> None:
    serve(replies(Response("", 429, {"Retry-After": "7"}), FINE))
    ask(make())
    assert len(clock.waits) == 1 and 7 <= clock.waits[0] <= 7.25
    came = serve(replies(Response("", 429, {"Retry-After": "3600"})))
    assert fail(make()).reason == "status 429" and len(came) == 1, "longer than the patience: given up at once"
    busy = replies(Response("", 503), Response("", 500), Response("", 429), Response("", 500), Response("", 429), FINE)
    came = serve(busy)
    assert ask(make()) and len(came) == 6, "429 and 503 do not count as tries"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {"message": f"Incorrect key {SECRET[:8]}***"}, "status 401"),
        (403, {"message": "no"}, "status 403"),
        (404, {"message": "no model `m`"}, 'status 404: {"message": "no model `m`"}'),
        (429, {"code": "insufficient_quota"}, "status 429 (insufficient_quota)"),
    ],
)
def test_a_refusal_is_not_tried_again(make: Make, serve: Any, status: int, body: Any, reason: str) -> None:
    came, endpoint = serve(replies(json_response({"error": body}, status))), make()
    error = fail(endpoint)
    assert (error.reason, error.fault, len(came)) == (reason, Fault.REFUSED, 1 + (status == 404))
    assert "check judge.base_url, judge.model and OPENAI_API_KEY" in endpoint.advise(error)


def test_a_silent_endpoint_is_a_time_out(make: Make, serve: Any) -> None:
    over = threading.Event()
    came = serve(lambda body: (over.wait(10), FINE)[1])
    error = fail(make(timeout=0.2, tries=2))
    over.set()
    assert (error.reason, error.fault) == ("time-out", Fault.SILENT) and len(came) <= 2


def test_a_port_without_server_is_no_connection(make: Make, clock: Any) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}/v1"
    endpoint = make(base_url=f"http://user:password@{address}")
    error = fail(endpoint)
    assert (error.reason, error.fault) == ("no connection", Fault.SILENT) and len(clock.waits) == 2
    assert endpoint.name == f"http://{address}"


def test_an_empty_reply_is_no_answer(make: Make, serve: Any) -> None:
    came = serve(replies(Response(" \n"), FINE))
    assert ask(make()) and len(came) == 2
    serve(replies(Response("")))
    assert fail(make()).reason == "an empty reply"


@pytest.mark.parametrize("query", ["?api-version=2024-06-01", "?api-version=2024-06-01&sig=a%2Bb%3D"])
@pytest.mark.parametrize("path", ["/d", "/d/"])
def test_a_query_stays_behind_the_path(
    make: Make, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: Any, path: str, query: str
) -> None:
    url, came = httpserver.url_for(path) + query, []
    httpserver.clear()
    httpserver.expect_request("/d/chat/completions").respond_with_handler(
        lambda request: came.append(request.query_string.decode()) or FINE  # type: ignore[func-returns-value]
    )
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with caplog.at_level("DEBUG"):
        for endpoint in (make(base_url=url), make(base_url=None)):
            assert ask(endpoint) and "?" not in endpoint.name
    assert came == [query[1:]] * 2
    assert not [r for r in caplog.records if "sig=" in r.getMessage() and r.name != "werkzeug"]


def test_each_try_counts_against_both_limits(make: Make, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    amounts: list[tuple[float, float]] = []

    class Limiter:
        def __init__(self, max_rate: float, period: float) -> None:
            self.max_rate = max_rate
            assert period == 1

        async def acquire(self, amount: float) -> None:
            amounts.append((self.max_rate, amount))

    monkeypatch.setattr("umed.llm.limits.AsyncLimiter", Limiter)
    serve(replies(Response("", 500), FINE))
    ask(make(requests_per_minute=120, tokens_per_minute=360))
    assert amounts == [(2.0, 1), (6.0, 6.0), (6.0, 4.0)] * 2


def test_any_other_request_is_sent_and_repeated_too(make: Make, serve: Any) -> None:
    times = iter([openai.APIConnectionError(request=httpx2.Request("GET", "http://x")), None])

    async def request(client: openai.AsyncOpenAI) -> str:
        error = next(times)
        if error:
            raise error
        return client.api_key

    async def go() -> str:
        async with make() as endpoint:
            return await endpoint.call(request)

    assert asyncio.run(go()) == SECRET


def test_the_key_is_sent_and_kept_nowhere(make: Make, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = make()
    came = serve(lambda body: completion(f"the key is {SECRET}"))
    assert SECRET not in ask(endpoint) and came[0]["headers"]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in repr(vars(endpoint)) and SECRET.encode() not in pickle.dumps(endpoint)
    serve(replies(json_response({"error": {"message": f"no model for {SECRET}"}}, 400)))
    assert "no model for OPENAI_API_KEY" in fail(endpoint).reason
    monkeypatch.delenv("OPENAI_API_KEY")
    came = serve(lambda body: FINE)
    assert ask(endpoint) and came[0]["headers"]["Authorization"] == "Bearer none", "a local server needs none"
    with pytest.raises(InputError, match="judge: no key for https://api.openai.com/v1: set .* OPENAI_API_KEY"):
        ask(make(base_url=None))


@pytest.mark.parametrize(
    "url",
    ["localhost:8000/v1", "http://a b/v1", "http://host:99999/v1", "http://user:pw@[::1", "ftp://host", "http://:0"],
)
def test_what_is_no_address(url: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="^judge.base_url is no address") as error:
        make(base_url=url)
    assert "pw" not in str(error.value)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://from-the-environment/v1")
    assert make(base_url=None).name == "http://from-the-environment/v1"


def test_jitter_is_drawn_anew(make: Make, serve: Any, clock: Any) -> None:
    random.seed(0)
    serve(replies(Response("", 429, {"Retry-After": "1"}), Response("", 429, {"Retry-After": "1"}), FINE))
    ask(make())
    assert clock.waits[0] != clock.waits[1], "not all workers at the same moment"
