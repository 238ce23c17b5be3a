"""How the annotator treats an endpoint that is slow, full, broken, gone, or refuses."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from loopback import good, texts_of
from werkzeug import Response

from umed.annotate.base import Stopped
from umed.records import Record

SECRET = "sk-test-0123456789-never-show-me"
Make = Callable[..., Any]


def note(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = record.provenance["annotation"]
    return found


def test_a_refused_format_is_left_out(make: Make, serve: Make, make_records: Make, roots: Any) -> None:
    def reply(body: dict[str, Any]) -> str | Response:
        return Response("no response_format", 400) if "response_format" in body else f"Sure:\n```{good(body)}```"

    came = serve(reply)
    assert all(r.diagnosis for r in make(concurrency=1).annotate(make_records(2), roots))
    assert [("response_format" in b) for b in came] == [True, False, False, False, False]
    assert came[0]["idempotency"] != came[1]["idempotency"]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds between two tries, as the client asks for them."""
    asked, sleep = list[float](), asyncio.sleep

    async def noted(seconds: float, *more: Any) -> None:
        asked.extend([seconds] if seconds else [])
        await sleep(seconds, *more)

    monkeypatch.setattr(asyncio, "sleep", noted)
    return asked


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
def test_retry_after_is_obeyed(
    make: Make, serve: Make, make_records: Make, roots: Any, waits: list[float], form: str
) -> None:
    times: list[float] = []

    def reply(body: dict[str, Any]) -> str | Response:
        times.append(time.time())
        until = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        header = {"seconds": {"Retry-After": "0.3"}, "date": {"Retry-After": until}, "none": {}}[form]
        return Response("slow down", 429, header) if len(times) == 1 else good(body)

    came = serve(reply)
    assert make().annotate(make_records(1), roots)[0].diagnosis
    waited = times[1] - times[0]
    [asked] = waits
    low, high = {"seconds": (0.3, 0.3025), "date": (0.0, 2.0025), "none": (0.005, 0.01)}[form]
    assert low <= asked <= high and waited >= asked - 0.01
    assert came[0]["idempotency"] == came[1]["idempotency"]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_a_request_that_keeps_failing_fails_its_record_for_now(
    make: Make, serve: Make, make_records: Make, roots: Any, status: int
) -> None:
    is_down, failed = True, 0

    def reply(body: dict[str, Any]) -> str | Response:
        nonlocal failed
        if not is_down or "kidney" not in texts_of(body)[1][1]:
            return good(body)
        failed += 1
        return Response("", status, {"Retry-After": "3600"} if failed == 6 else {})

    came, records = serve(reply), make_records(2)
    bad, fine = make(patience=60).annotate(records, roots)
    tries = len(came) - 2
    assert note(bad)["reason"] == f"no answer: status {status}" and fine.diagnosis
    assert tries == failed == (6 if status in (429, 503) else 3), "a full endpoint is waited for"
    is_down = False
    again = make().annotate([bad, fine], roots)
    assert again[0].diagnosis and again[1] == fine and len(came) == tries + 2 + 2


def test_waits_double_and_differ(
    make: Make, serve: Make, make_records: Make, roots: Any, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umed.annotate.client.LONGEST", 0.05)
    serve(lambda body: Response("", 500) if "kidney" in texts_of(body)[1][1] else good(body))
    make(tries=7).annotate(make_records(2), roots)
    longest = [0.01, 0.02, 0.04, 0.05, 0.05, 0.05]
    assert len(waits) == 6 and all(most / 2 <= w <= most for w, most in zip(waits, longest, strict=True))
    assert len({w / most for w, most in zip(waits, longest, strict=True)}) > 1


def test_time_outs_and_lost_connections_are_tried_again(
    make: Make, serve: Make, make_records: Make, roots: Any
) -> None:
    over, calls = threading.Event(), 0

    def reply(body: dict[str, Any]) -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            over.wait(30)
        return good(body)

    serve(reply)
    record = make(timeout=2.0).annotate(make_records(1), roots)[0]
    over.set()
    assert record.diagnosis and calls >= 3


def test_waiting_longer_than_the_patience_fails_at_once(
    make: Make, serve: Make, make_records: Make, roots: Any
) -> None:
    serve(lambda body: Response("", 429, {"Retry-After": "3600"}) if "kidney" in texts_of(body)[1][1] else good(body))
    started = time.monotonic()
    bad, fine = make(patience=60).annotate(make_records(2), roots)
    assert note(bad)["reason"] == "no answer: status 429" and fine.diagnosis and time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, ""), (403, ""), (404, "page not found"), (429, '{"error": {"code": "insufficient_quota"}}')],
)
def test_a_refusal_ends_the_run_with_one_line_and_loses_nothing(
    make: Make, serve: Make, make_records: Make, roots: Any, status: int, body: str
) -> None:
    came, records = serve(lambda _: Response(body, status, content_type="application/json")), make_records(20)
    with pytest.raises(Stopped, match=f"status {status}.*annotator.base_url.*0 of 20 records are done") as stop:
        make(concurrency=2).annotate(records, roots)
    assert "\n" not in str(stop.value) and SECRET not in str(stop.value)
    assert stop.value.records == records and len(came) <= 6, "not every record is asked for"


def test_a_quota_that_ends_on_the_way_keeps_what_is_done(
    make: Make, serve: Make, make_records: Make, roots: Any
) -> None:
    quota = 10

    def reply(body: dict[str, Any]) -> str | Response:
        spent = len(came) > quota
        error = '{"error": {"code": "insufficient_quota"}}'
        return Response(error, 429, content_type="application/json") if spent else good(body)

    came, records = serve(reply), make_records(30)
    with pytest.raises(Stopped, match="5 of 30 records are done, 25 to go") as stop:
        make(concurrency=1).annotate(records, roots)
    assert [bool(r.diagnosis) for r in stop.value.records] == [True] * 5 + [False] * 25
    quota = 1000
    assert all(r.diagnosis for r in make().annotate(records, roots))
    answered = [b["idempotency"] for b in came]
    assert len(set(answered)) == 60 and len(answered) == 60 + 4


def test_an_endpoint_that_is_not_there_is_told(make: Make, make_records: Make, roots: Any) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{s.getsockname()[1]}/v1"
    with pytest.raises(Stopped, match=f"http://{address} brings no answer .no connection.") as stop:
        make(base_url=f"http://user:password@{address}").annotate(make_records(2), roots)
    assert "password" not in str(stop.value) and "\n" not in str(stop.value)


def test_requests_are_bounded_and_paced(make: Make, serve: Make, make_records: Make, roots: Any) -> None:
    lock, three, now, most, times = threading.Lock(), threading.Event(), 0, 0, list[float]()

    def reply(body: dict[str, Any]) -> str | Response:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
            times.append(time.monotonic())
            number = len(times)
            if now == 3:
                three.set()
        three.wait(10)
        time.sleep(0.05)
        with lock:
            now -= 1
        return Response("", 500) if number % 3 == 0 else good(body)

    serve(reply)
    make(concurrency=3, tries=9, timeout=60.0).annotate(make_records(8), roots)
    assert most == 3 and three.is_set()
    times.clear()
    make(model="n", concurrency=8, tries=9, requests_per_minute=600).annotate(make_records(6), roots)
    assert len(times) > 12, "failed tries count too"
    # 10 a second, and the first second's share at once
    assert times[-1] - times[0] >= (len(times) - 10) / 10 - 0.1 > 0.3


def test_tokens_are_paced(make: Make, serve: Make, make_records: Make, roots: Any) -> None:
    """Some 900 tokens a request at 1,000 a second: six requests take five seconds' share less the first."""
    times: list[float] = []

    def reply(body: dict[str, Any]) -> str:
        times.append(time.monotonic())
        return good(body)

    serve(reply)
    make(tokens_per_minute=120_000).annotate(make_records(2), roots)
    assert len(times) == 4 and 0.3 < times[-1] - times[0] < 10


@pytest.mark.parametrize("status", [429, 503])
def test_a_full_endpoint_is_outlasted(make: Make, serve: Make, make_records: Make, roots: Any, status: int) -> None:
    """Even between faults that count: two time-outs or 500 and any number of 429."""

    def reply(body: dict[str, Any]) -> str | Response:
        return Response("", 500 if len(came) in (3, 6) else status) if len(came) < 7 else good(body)

    came = serve(reply)
    assert make(backoff=0.002).annotate(make_records(1), roots)[0].diagnosis and len(came) == 6 + 2
