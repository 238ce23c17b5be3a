"""`OpenAIAnnotator` against a real server on the loopback interface."""

import base64
import io
import json
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from loopback import good, is_reflection, note, texts_of
from PIL import Image
from served import SECRET
from werkzeug import Response

from umed.annotate.base import Stopped
from umed.errors import InputError


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_two_turns_give_a_diagnosis_in_order(annotate, serve, make_records, api):
    came, records = serve(), make_records(2)
    first, second = annotate(records, api=api, concurrency=1, price={"input": 1.0, "output": 10.0})
    assert first.diagnosis == (
        "Something is abnormal. It is bright and lies here: <region>. This indicates kidney stone."
    )
    assert first.query and second.category in second.diagnosis and len(came) == 4
    said = note(first)
    assert (said["status"], said["api"], said["model"], said["turns"], said["repairs"]) == ("ok", api, "m", 2, 0)
    assert said["tokens"] == {"input": 200, "output": 100} and said["cost_usd"] == pytest.approx(1.2e-3)
    assert len(said["prompt_sha256"]) == 64 and datetime.fromisoformat(said["time"]).tzinfo == UTC
    assert first.provenance["annotator"] == "openai"
    assert (first.boxes, first.split) == (records[0].boxes, "train")
    fields = {"chat": ("response_format", "max_completion_tokens"), "responses": ("text", "max_output_tokens")}[api]
    assert all(name in body for body in came for name in fields) and came[0]["temperature"] == 0
    assert [is_reflection(b) for b in came] == [False, True, False, True]
    assert len({b["idempotency"] for b in came}) == 4


def test_the_picture_has_its_boxes_drawn_and_the_text_says_where(annotate, serve, make_records):
    came, records = serve(), make_records(2)
    annotate(records, concurrency=1)
    text, image = came[2]["messages"][1]["content"]
    assert "[[4.0, 6.0, 20.0, 18.0], [24.0, 15.0, 36.0, 27.0]]" in text["text"] and '"cyst"' in text["text"]
    assert "40 x 30" in text["text"] and "CT" in text["text"]
    kind, data = image["image_url"]["url"].split(",")
    assert kind == "data:image/png;base64"
    drawn = Image.open(io.BytesIO(base64.b64decode(data)))
    assert drawn.size == (320, 240)
    yellow = {(x, y) for x in range(320) for y in range(240) if drawn.getpixel((x, y)) == (255, 220, 0)}
    assert {(31, 47), (160, 144), (191, 119), (288, 216)} <= yellow, "just around the boxes"
    assert came[3]["messages"][:2] == came[2]["messages"], "the second turn continues the conversation"
    assert came[3]["messages"][2] == {"role": "assistant", "content": good(came[2])}


def test_what_is_in_the_journal_is_not_asked_again(annotate, serve, make_records, roots):
    came, records = serve(), make_records(3)
    once = annotate(records)
    assert annotate(records[::-1]) == once[::-1] and len(came) == 6
    annotate([replace(records[0], category="mass")])
    annotate([replace(records[0], boxes=records[1].boxes)])
    assert len(came) == 10, "category and boxes belong to the key"
    annotate(records[:1], model="other")
    annotate(records[:1], request={"temperature": 1})
    Image.new("L", (40, 30), 7).save(roots["s"] / "0.png")
    annotate(records[:1])
    assert len(came) == 16, "model, settings and the picture's content belong to the key"
    annotate(records[:1], queries=["Where?"], tries=9, aliases={"cyst": ["x"]})
    assert len(came) == 16, "what the model does not see does not"


def test_an_answer_is_on_disk_before_it_is_read(annotate, serve, monkeypatch):
    came = serve()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("umed.annotate.dialog.read_reply", killed)
        with pytest.raises(Stopped, match="interrupted"):
            annotate(1)
    (record,) = annotate(1)
    assert record.diagnosis and len(came) == 2


def test_a_picture_that_vanished_fails_its_record_alone(annotate, serve, make_records, roots):
    came, records = serve(), make_records(3)
    (roots["s"] / "1.png").unlink()
    outside = replace(records[2], image="../pictures/2.png")
    fine, lost, refused = annotate([*records[:2], outside])
    assert fine.diagnosis and not lost.diagnosis and not refused.diagnosis and len(came) == 2
    assert note(lost)["reason"] == note(refused)["reason"] == "no readable picture"
    assert "1.png" in note(lost)["detail"] and "inside" in note(refused)["detail"]


def test_the_query_depends_on_the_record_and_the_seed_alone(annotate, serve, make_records):
    serve()
    records = make_records(12)
    queries = [r.query for r in annotate(records)]
    assert len(set(queries)) > 1 and not any("{" in q for q in queries)
    assert [r.query for r in annotate(records[::-1])] == queries[::-1]
    assert [r.query for r in annotate(records, seed=5)] != queries


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises here too; a test runner's worker processes ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_what_is_done_and_ends_with_one_line(annotate, serve, make_records):
    def reply(body: dict[str, Any]) -> str:
        if len(came) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return good(body)

    came, records = serve(reply), make_records(9)
    with pytest.raises(Stopped, match=r"annotator: interrupted; 2 of 9 records are done, 7 to go: start") as stop:
        annotate(records, concurrency=1)
    assert "\n" not in str(stop.value)
    assert [bool(r.diagnosis) for r in stop.value.records] == [True] * 2 + [False] * 7
    assert stop.value.records[2:] == records[2:] and len(came) == 5
    assert all(r.diagnosis for r in annotate(records))


def test_requests_are_bounded_and_paced(annotate, serve, monkeypatch):
    rates = set[float]()

    class Limiter:
        def __init__(self, max_rate: float, _: float) -> None:
            self.max_rate = max_rate

        async def acquire(self, amount: float) -> None:
            rates.add(self.max_rate)

    monkeypatch.setattr("umed.llm.limits.AsyncLimiter", Limiter)
    lock, three, now, most = threading.Lock(), threading.Barrier(3), 0, 0

    def reply(body: dict[str, Any]) -> str:
        nonlocal now, most
        with lock:
            now, most = now + 1, max(most, now + 1)
        three.wait(20)
        with lock:
            now -= 1
        return good(body)

    serve(reply)
    annotate(6, concurrency=3, timeout=60.0, requests_per_minute=600, tokens_per_minute=6000)
    assert most == 3 and rates == {10.0, 100.0}


def test_the_key_is_nowhere(annotate, serve, tmp_path):
    """Even where the endpoint quotes it."""

    def reply(body: dict[str, Any]) -> str | Response:
        if "kidney" in texts_of(body)[1][1]:
            error = {"error": {"message": f"no such model for {SECRET}"}}
            return Response(json.dumps(error), 400, content_type="application/json")
        return good(body, diagnosis=f"the key is {SECRET}") if not is_reflection(body) else good(body)

    serve(reply)
    bad, fine = annotate(2)
    assert "no such model" in note(bad)["reason"] and fine.diagnosis
    written = b"".join(p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file())
    assert b"the key is" in written and b"never-show-me" not in written + repr([bad, fine]).encode()


def test_an_id_that_occurs_twice(annotate, make_records):
    with pytest.raises(InputError, match="s/0 occurs 2 times"):
        annotate(make_records(1) * 2)
