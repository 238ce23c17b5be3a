"""`OpenAIAnnotator` against a real server on the loopback interface."""

import base64
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from loopback import answer, good, is_reflection, is_repair, texts_of
from PIL import Image
from werkzeug import Response

from umed.annotate.base import Stopped
from umed.annotate.wire import reply_of
from umed.records import Record

Make = Callable[..., Any]


def note(record: Record) -> dict[str, Any]:
    found: dict[str, Any] = record.provenance["annotation"]
    return found


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_two_turns_give_a_diagnosis_in_order(make: Make, serve: Make, make_records: Make, roots: Any, api: str) -> None:
    came, records = serve(), make_records(2)
    first, second = make(api=api, concurrency=1, price={"input": 1.0, "output": 10.0}).annotate(records, roots)
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


def test_the_picture_has_its_boxes_drawn_and_the_text_says_where(
    make: Make, serve: Make, make_records: Make, roots: Any
) -> None:
    came, records = serve(), make_records(2)
    make(concurrency=1).annotate(records, roots)
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
def test_a_wrong_reply_is_repaired_once(make: Make, serve: Make, make_records: Make, roots: Any, turn: str) -> None:
    def reply(body: dict[str, Any]) -> str:
        is_wrong = is_reflection(body) == (turn == "reflection") and not is_repair(body)
        return good(body, category="ulcer") if is_wrong else good(body)

    came = serve(reply)
    (record,) = make().annotate(make_records(1), roots)
    assert record.diagnosis.endswith("This indicates kidney stone.")
    assert (note(record)["turns"], note(record)["repairs"], len(came)) == (3, 1, 3)
    repair = next(b for b in came if is_repair(b))
    assert 'category must be "kidney stone"' in texts_of(repair)[-1][1]


@pytest.mark.parametrize("reply", ["no", "", '{"a": 1}', None])
def test_a_reply_that_stays_wrong_fails_for_good(
    make: Make, serve: Make, make_records: Make, roots: Any, reply: str | None
) -> None:
    def wrong(body: dict[str, Any]) -> str | Response:
        if "kidney stone" not in texts_of(body)[1][1]:
            return good(body)
        return Response("<html>", content_type="text/html") if reply is None else reply

    came, records = serve(wrong), make_records(2)
    bad, fine = make().annotate(records, roots)
    assert (bad.diagnosis, bad.query, note(bad)["status"]) == ("", "", "failed")
    assert note(bad)["reason"].startswith("diagnosis: ") and note(bad)["turns"] == 2 and fine.diagnosis
    assert len(came) == 4
    assert make().annotate(records, roots) == [bad, fine], "replayed, not asked again, to the same bytes"
    assert len(came) == 4


def test_what_is_in_the_journal_is_not_asked_again(make: Make, serve: Make, make_records: Make, roots: Any) -> None:
    came, records = serve(), make_records(3)
    once = make().annotate(records, roots)
    assert make().annotate(records[::-1], roots) == once[::-1] and len(came) == 6
    make().annotate([replace(records[0], category="mass")], roots)
    make().annotate([replace(records[0], boxes=records[1].boxes)], roots)
    assert len(came) == 10, "category and boxes belong to the key"
    make(model="other").annotate(records[:1], roots)
    make(request={"temperature": 1}).annotate(records[:1], roots)
    Image.new("L", (40, 30), 7).save(roots["s"] / "0.png")
    make().annotate(records[:1], roots)
    assert len(came) == 16, "model, settings and the picture's content belong to the key"
    make(queries=["Where?"], tries=9, aliases={"cyst": ["x"]}).annotate(records[:1], roots)
    assert len(came) == 16, "what the model does not see does not"


def test_an_answer_is_on_disk_before_it_is_read(
    make: Make, serve: Make, make_records: Make, roots: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = serve()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("umed.annotate.dialog.reply_of", killed)
        with pytest.raises(Stopped, match="interrupted"):
            make().annotate(make_records(1), roots)
    (record,) = make().annotate(make_records(1), roots)
    assert record.diagnosis and len(came) == 2


def test_a_picture_that_vanished_fails_its_record_alone(
    make: Make, serve: Make, make_records: Make, roots: Any
) -> None:
    came, records = serve(), make_records(3)
    (roots["s"] / "1.png").unlink()
    outside = replace(records[2], image="../pictures/2.png")
    fine, lost, refused = make().annotate([*records[:2], outside], roots)
    assert fine.diagnosis and not lost.diagnosis and not refused.diagnosis and len(came) == 2
    assert note(lost)["reason"] == note(refused)["reason"] == "no readable picture"
    assert "1.png" in note(lost)["detail"] and "inside" in note(refused)["detail"]


def test_the_query_depends_on_the_record_and_the_seed_alone(
    make: Make, serve: Make, make_records: Make, roots: Any
) -> None:
    serve()
    records = make_records(12)
    queries = [r.query for r in make().annotate(records, roots)]
    assert len(set(queries)) > 1 and not any("{" in q for q in queries)
    assert [r.query for r in make().annotate(records[::-1], roots)] == queries[::-1]
    assert [r.query for r in make(seed=5).annotate(records, roots)] != queries


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises here too; a test runner's worker processes ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_keeps_what_is_done_and_ends_with_one_line(
    make: Make, serve: Make, make_records: Make, roots: Any
) -> None:
    def reply(body: dict[str, Any]) -> str:
        if len(came) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return good(body)

    came, records = serve(reply), make_records(9)
    with pytest.raises(Stopped, match=r"annotator: interrupted; 2 of 9 records are done, 7 to go: start") as stop:
        make(concurrency=1).annotate(records, roots)
    assert "\n" not in str(stop.value)
    assert [bool(r.diagnosis) for r in stop.value.records] == [True] * 2 + [False] * 7
    assert stop.value.records[2:] == records[2:] and len(came) == 5
    assert all(r.diagnosis for r in make().annotate(records, roots))


def test_a_lone_surrogate_is_repaired(make: Make, serve: Make, make_records: Make, roots: Any) -> None:
    came = serve(lambda body: good(body) if is_repair(body) or is_reflection(body) else '{"a": "\ud83d"')
    (record,) = make().annotate(make_records(1), roots)
    assert record.diagnosis and len(came) == 3 and texts_of(came[1])[2][1] == '{"a": "\ufffd"'
    assert make().annotate(make_records(1), roots) == [record]


def test_a_reply_without_end_is_sent_back_in_part(make: Make, serve: Make, make_records: Make, roots: Any) -> None:
    def reply(body: dict[str, Any]) -> str:
        return good(body) if is_repair(body) or is_reflection(body) else good(body) + " " * 8_001 + "!" * 8_000

    came = serve(reply)
    assert make().annotate(make_records(1), roots)[0].diagnosis
    assert len(texts_of(came[1])[2][1]) == 4000 and "far too long" in texts_of(came[1])[-1][1]


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_parts_of_a_content_are_joined(api: str) -> None:
    kind = {"chat": "text", "responses": "output_text"}[api]
    parts = [{"type": "thinking", "text": "Hm."}, {"type": kind, "text": "a"}, {"type": kind, "text": "b"}, None, 1]
    body = answer({"messages": []} if api == "chat" else {}, "")
    if api == "chat":
        body["choices"][0]["message"]["content"] = parts
    else:
        body["output"][1]["content"] = parts
    assert reply_of(json.dumps(body)).text == "ab"
