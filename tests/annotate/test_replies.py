"""Which replies of an endpoint become a diagnosis, in either API: the final answer, and only a whole one."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from loopback import answer, good, is_reflection, is_repair, note, texts_of
from werkzeug import Response

Change = Callable[[dict[str, Any], str], dict[str, Any]]


def chat(content: Any = "", finish: str = "stop", **fields: Any) -> Change:
    """A reply with this message; GOOD in `content` stands for what was asked for."""

    def reply(body: dict[str, Any], text: str) -> dict[str, Any]:
        filled = json.loads(json.dumps(content).replace("GOOD", json.dumps(text)[1:-1]))
        message = {"role": "assistant", "content": filled, **fields}
        return {**answer(body, ""), "choices": [{"index": 0, "message": message, "finish_reason": finish}]}

    return reply


def responses(**fields: Any) -> Change:
    return lambda body, text: {**answer(body, text), **fields}


CUT = "cut off by the limit of tokens"
PARTS = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "GOOD"}]


@pytest.mark.parametrize(
    ("api", "change", "reason"),
    [
        ("chat", chat("<think>{</think>GOOD"), ""),
        ("chat", chat("GOOD </think> GOOD"), ""),
        ("chat", chat(PARTS), ""),
        ("chat", chat("<think>GOOD"), "the reply ends inside a thought"),
        ("chat", chat("GOOD", "length"), CUT),
        ("chat", chat('{"category": "kidney stone", "diagnosis": "A', "length"), CUT),
        ("chat", chat("GOOD", "content_filter"), "cut off by a content filter"),
        ("chat", chat(None, reasoning_content="GOOD"), "thoughts without an answer (reasoning_content)"),
        ("chat", chat(PARTS[:1]), "thoughts without an answer (thinking)"),
        ("chat", chat(None, tool_calls=[{"id": 1}]), "a tool call instead of a text"),
        ("chat", chat(None, refusal="I cannot."), "a refusal"),
        ("chat", chat("no"), "no JSON object"),
        ("chat", chat('{"a": 1}'), "missing fields"),
        ("chat", lambda body, text: {"error": "no such path"}, 'an error instead of a completion: "no such path"'),
        ("responses", responses(), ""),
        ("responses", responses(incomplete_details={"reason": "max_output_tokens"}), CUT),
        ("responses", responses(output=[{"type": "reasoning"}]), "thoughts without an answer (reasoning)"),
    ],
)
def test_a_diagnosis_is_the_final_answer(annotate, serve, make_records, api: str, change: Change, reason: str) -> None:
    def reply(body: dict[str, Any]) -> str | Response:
        is_other = "kidney stone" not in texts_of(body)[1][1]
        return good(body) if is_other else Response(json.dumps(change(body, good(body))))

    came, records = serve(reply), make_records(2)
    first, other = annotate(records, api=api)
    assert other.diagnosis and bool(first.diagnosis) == bool(first.query) == (not reason)
    assert note(first).get("reason", "") == (f"diagnosis: {reason}" if reason else "") and len(came) == 4
    assert note(first)["repairs"] == bool(reason) and "think>" not in json.dumps([texts_of(body) for body in came])
    assert annotate(records, api=api) == [first, other] and len(came) == 4, "replayed, to the same bytes"


@pytest.mark.parametrize(
    ("first_reply", "repeated", "told"),
    [
        (lambda body: good(body, category="ulcer"), None, 'category must be "kidney stone"'),
        (lambda body: '{"a": "\ud83d"}', '{"a": "\ufffd"}', "the JSON object has no"),
        (lambda body: good(body) + " " * 8_001 + "!" * 8_000, 4000, "far too long"),
        (lambda body: Response(json.dumps(chat("GOOD", "length")(body, "{}"))), "{}", "no whole answer (cut off"),
        (lambda body: "", "(no answer)", "no whole answer (an empty reply)"),
    ],
)
@pytest.mark.parametrize("turn", ["diagnosis", "reflection"])
def test_a_wrong_reply_is_sent_back_once(
    annotate, serve, turn: str, first_reply: Any, repeated: Any, told: str
) -> None:
    def reply(body: dict[str, Any]) -> str | Response:
        is_wrong = is_reflection(body) == (turn == "reflection") and not is_repair(body)
        return first_reply(body) if is_wrong else good(body)

    came = serve(reply)
    (record,) = annotate(1)
    assert record.diagnosis.endswith("This indicates kidney stone.")
    assert (note(record)["turns"], note(record)["repairs"], len(came)) == (3, 1, 3)
    *_, (_, excerpt), (_, request) = texts_of(next(body for body in came if is_repair(body)))
    assert told in request and repeated in (None, excerpt, len(excerpt))
    assert annotate(1) == [record] and len(came) == 3
