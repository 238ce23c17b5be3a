"""`OpenAIAnnotator` against a real server on the loopback interface."""

import base64
import io
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from loopback import good, is_reflection, is_repair, note, texts_of
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


@pytest.mark.parametrize("turn", ["diagnosis", "reflection"])
def test_a_wrong_reply_is_repaired_once(annotate, serve, turn):
    def reply(body: dict[str, Any]) -> str:
        is_wrong = is_reflection(body) == (turn == "reflection") and not is_repair(body)
        return good(body, category="ulcer") if is_wrong else good(body)

    came = serve(reply)
    (record,) = annotate(1)
    assert record.diagnosis.endswith("This indicates kidney stone.")
    assert (note(record)["turns"], note(record)["repairs"], len(came)) == (3, 1, 3)
    repair = next(b for b in came if is_repair(b))
    assert 'category must be "kidney stone"' in texts_of(repair)[-1][1]


@pytest.mark.parametrize("reply", ["no", "", '{"a": 1}', None])
def test_a_reply_that_stays_wrong_fails_for_good(annotate, serve, make_records, reply):
    def wrong(body: dict[str, Any]) -> str | Response:
        if "kidney stone" not in texts_of(body)[1][1]:
            return good(body)
        return Response("<html>", content_type="text/html") if reply is None else reply

    came, records = serve(wrong), make_records(2)
    bad, fine = annotate(records)
    assert (bad.diagnosis, bad.query, note(bad)["status"]) == ("", "", "failed")
    assert note(bad)["reason"].startswith("diagnosis: ") and note(bad)["turns"] == 2 and fine.diagnosis
    assert len(came) == 4
    assert annotate(records) == [bad, fine], "replayed, not asked again, to the same bytes"
    assert len(came) == 4


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


def test_a_lone_surrogate_is_repaired(annotate, serve):
    came = serve(lambda body: good(body) if is_repair(body) or is_reflection(body) else '{"a": "\ud83d"')
    (record,) = annotate(1)
    assert record.diagnosis and len(came) == 3 and texts_of(came[1])[2][1] == '{"a": "\ufffd"'
    assert annotate(1) == [record]


def test_a_reply_without_end_is_sent_back_in_part(annotate, serve):
    def reply(body: dict[str, Any]) -> str:
        return good(body) if is_repair(body) or is_reflection(body) else good(body) + " " * 8_001 + "!" * 8_000

    came = serve(reply)
    assert annotate(1)[0].diagnosis
    assert len(texts_of(came[1])[2][1]) == 4000 and "far too long" in texts_of(came[1])[-1][1]


def test_thoughts_are_no_part_of_the_answer(annotate, serve):
    came = serve(lambda body: "<think>{" + ("" if is_repair(body) else good(body)) + "</think>" + good(body))
    (record,) = annotate(1)
    assert record.diagnosis and len(came) == 2 and "think" not in texts_of(came[1])[2][1]
    came = serve(lambda body: "<think>" + good(body))
    (record,) = annotate(1, model="n")
    assert (
        note(record)["reason"] == "diagnosis: the reply ends inside a thought"
        and texts_of(came[1])[2][1] == "(no answer)"
    )


def test_a_request_that_keeps_failing_fails_its_record_for_now(annotate, serve, make_records):
    is_down = True

    def reply(body: dict[str, Any]) -> str | Response:
        return Response("", 502) if is_down and "kidney" in texts_of(body)[1][1] else good(body)

    came, records = serve(reply), make_records(2)
    bad, fine = annotate(records)
    assert note(bad)["reason"] == "no answer: status 502" and fine.diagnosis and len(came) == 3 + 2
    is_down = False
    again = annotate([bad, fine])
    assert again[0].diagnosis and again[1] == fine and len(came) == 5 + 2


@pytest.mark.parametrize(("status", "body"), [(401, ""), (429, '{"error": {"code": "insufficient_quota"}}')])
def test_a_refusal_ends_the_run_with_one_line_and_loses_nothing(annotate, serve, make_records, status, body):
    came, records = serve(lambda _: Response(body, status, content_type="application/json")), make_records(20)
    with pytest.raises(Stopped, match=f"status {status}.*annotator.base_url.*0 of 20 records are done") as stop:
        annotate(records, concurrency=2)
    assert "\n" not in str(stop.value) and SECRET not in str(stop.value)
    assert stop.value.records == records and len(came) <= 6, "not every record is asked for"


def test_a_quota_that_ends_on_the_way_keeps_what_is_done(annotate, serve, make_records):
    quota = 10

    def reply(body: dict[str, Any]) -> str | Response:
        error = '{"error": {"code": "insufficient_quota"}}'
        return Response(error, 429, content_type="application/json") if len(came) > quota else good(body)

    came, records = serve(reply), make_records(9)
    with pytest.raises(Stopped, match="5 of 9 records are done, 4 to go") as stop:
        annotate(records, concurrency=1)
    assert [bool(r.diagnosis) for r in stop.value.records] == [True] * 5 + [False] * 4
    quota = 1000
    assert all(r.diagnosis for r in annotate(records))
    answered = [b["idempotency"] for b in came]
    assert len(set(answered)) == 18 and len(answered) == 18 + 4


def test_settings_that_the_endpoint_refuses_and_an_endpoint_that_is_not_there(annotate, serve):
    words = json.dumps({"error": {"message": "'temperature' takes no other value than its default"}})
    serve(lambda _: Response(words, 400, content_type="application/json"))
    with pytest.raises(Stopped, match="refuses temperature: change annotator.request.temperature"):
        annotate(9)
    with pytest.raises(Stopped, match="http://127.0.0.1:9/v1 brings no answer .no connection.") as stop:
        annotate(2, base_url="http://user:password@127.0.0.1:9/v1")
    assert "password" not in str(stop.value) and "\n" not in str(stop.value)


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


def test_no_key(annotate, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="annotator: no key for https://api.openai.com/v1: set the environment"):
        annotate(1, base_url=None)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"api": "completions"}, "annotator.api=completions"), ({"max_cost": 1.0}, "annotator.max_cost=1 needs prices"),
        ({"max_cost": -1, "price": {"input": 1, "output": 1}}, "annotator.max_cost=-1"),
        ({"price": {"input": -1, "output": 1}}, "annotator.price.input=-1"), ({"price": 5}, "annotator.price=5"),
        ({"price": {"input": "abc", "output": 1}}, "annotator.price.input=abc"),
        ({"base_url": "localhost:8000/v1"}, "annotator.base_url is no address"),
        ({"queries": []}, "annotator.queries"), ({"queries": [" "]}, "annotator.queries"),
        ({"tries": 0}, "annotator.tries=0"), ({"concurrency": 2.5}, "annotator.concurrency=2.5"),
        ({"timeout": "abc"}, "annotator.timeout=abc"), ({"patience": None}, "annotator.patience=null"),
        ({"backoff": float("nan")}, "annotator.backoff=nan"), ({"poll_seconds": 0}, "annotator.poll_seconds=0"),
        ({"tokens_per_minute": True}, "annotator.tokens_per_minute=True"), ({"model": None}, "annotator.model=null"),
        ({"requests_per_minute": 0}, "annotator.requests_per_minute=0"), ({"journal": None}, "annotator.journal=null"),
        ({"seed": "x"}, "annotator.seed=x"), ({"dry_run": "maybe"}, "annotator.dry_run=maybe"),
        ({"batch": "yes"}, "annotator.batch=yes"),
        ({"output_tokens": {"expected": 1, "at_most": 0}}, "annotator.output_tokens.at_most=0"),
        ({"image_tokens": {"base": -1, "tile": 0}}, "annotator.image_tokens.base=-1"),
        ({"prompt": {"user": "Look at {category}."}}, "annotator.prompt.user has no place for {region}"),
        ({"prompt": {"reflection": "Order it."}}, "annotator.prompt.reflection has no place for <region>"),
        ({"prompt": {"repair": "Again."}}, "annotator.prompt.repair has no place for {problem}"),
        ({"prompt": {"system": " "}}, "annotator.prompt.system"),
    ],
)  # fmt: skip
def test_wrong_settings_are_one_line(make, settings, changes, told):
    if "prompt" in changes:
        changes = {"prompt": {**settings["prompt"], **changes["prompt"]}}
    with pytest.raises(InputError, match=re.escape(told)) as error:
        make(**changes)
    assert "\n" not in str(error.value)


def test_an_id_that_occurs_twice(annotate, make_records):
    with pytest.raises(InputError, match="s/0 occurs 2 times"):
        annotate(make_records(1) * 2)


def test_left_and_right_are_told_apart(settings):
    rule = "Left and right are the patient's in X-ray, CT and MR, and the image's in endoscopy."
    assert rule in settings["prompt"]["system"]
    assert "in the upper zone of the patient's left lung: <region>." in settings["prompt"]["reflection"]
