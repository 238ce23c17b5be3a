"""What is read out of an answer: text without thoughts, tokens; garbage never raises."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served import SECRET

from umed.llm.request import Reply, read_reply

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "output", "usage", "type", "text", "prompt_tokens"]),
            inner,
        )
    ),
    max_leaves=8,
)


def chat(content: Any, finish: str = "stop", **fields: Any) -> str:
    return json.dumps({"choices": [{"message": {"content": content, **fields}, "finish_reason": finish}]})


def responses(content: Any, reason: str | None = None) -> str:
    outputs = [{"type": "reasoning", "summary": []}, {"type": "message", "content": content}]
    return json.dumps({"output": outputs, "incomplete_details": reason and {"reason": reason}})


@settings(max_examples=40)
@given(
    JSON | st.builds(lambda value: {"choices": [value]}, JSON) | st.builds(lambda v: {"output": [v], "usage": v}, JSON)
)
def test_any_body_is_a_text_or_a_problem(value: Any) -> None:
    for body in (json.dumps(value), json.dumps(value)[:-1]):
        reply = read_reply(body)
        assert reply.text.strip() or reply.problem
        reply.text.encode()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        *((b, "a reply that is no completion") for b in ("", "[" * 100_000, "{not", "[]", "null", '{"choices": []}')),
        ("\n<html>", "a web page instead of a completion"),
        ('data: {"choices": []}', "a stream instead of a completion"),
        ('{"error": "Unexpected endpoint"}', 'an error instead of a completion: "Unexpected endpoint"'),
        ('{"error": {"message": "busy"}, "choices": null}', 'an error instead of a completion: {"message": "busy"}'),
        (json.dumps({"error": f"wrong key {SECRET[:9]}***"}), "an error instead of a completion"),
    ],
)
def test_what_is_no_completion(body: str, problem: str) -> None:
    assert read_reply(body) == Reply("", None, problem)


@pytest.mark.parametrize("wrap", [chat, responses])
def test_texts_parts_and_thoughts(wrap: Any) -> None:
    kind = "text" if wrap is chat else "output_text"
    parts = [{"type": "thinking", "text": "Hm."}, {"type": kind, "text": "a"}, {"type": kind, "text": "b"}, None, 1]
    assert read_reply(wrap(parts)) == Reply("ab")
    assert read_reply(wrap([{"type": "refusal", "refusal": "No."}])) == Reply("No.", None, "a refusal")
    assert read_reply(wrap([{"type": kind, "text": "<think>one"}, {"text": "</think> two"}])).text == "two"
    assert read_reply(wrap([{"type": kind, "text": "x\ud83d"}])).text == "x\ufffd", "half a character"
    assert read_reply(wrap(["a", {"type": kind, "text": {"value": "b"}}])).text == "ab"
    assert read_reply(wrap({"type": kind, "text": "a"})).text == "a"


def test_an_output_item_of_thoughts_or_comments_is_no_answer() -> None:
    items = [{"type": "reasoning", "content": "x"}, {"type": "message", "phase": "commentary", "content": "y"}]
    assert read_reply(json.dumps({"output": [*items, {"type": "message", "content": "a"}]})) == Reply("a")


CUT, BROKEN = "cut off by the limit of tokens", ({"status": "failed"}, {"error": {"message": "upstream"}})
THINKING = [{"type": "thinking", "thinking": "x"}]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        *((chat(content), "an empty reply") for content in (None, "", " \n", 5, [], [None])),
        (chat("<think>one</think>\n"), "thoughts without an answer"),
        (json.dumps({"choices": [None]}), "an empty reply"),
        (chat("<think>the format is {}"), "the reply ends inside a thought"),
        (chat("<think>{}", "length"), "the reply ends inside a thought, cut off by the limit of tokens"),
        (chat(None, reasoning_content="x"), "thoughts without an answer (reasoning_content)"),
        (chat("", "length", reasoning="x"), "thoughts without an answer (reasoning), cut off by the limit of tokens"),
        (chat(THINKING), "thoughts without an answer (thinking)"),
        (json.dumps({"output": [{"type": "reasoning", "summary": []}]}), "thoughts without an answer (reasoning)"),
        (chat("", "tool_calls", tool_calls=[{"id": 1}]), "a tool call instead of a text"),
        (json.dumps({"output": [{"type": "function_call", "name": "x"}]}), "a tool call instead of a text"),
        (chat(None, refusal="I cannot."), "a refusal"),
        (chat("a", "insufficient_system_resource"), "broken off by the endpoint"),
        (chat("a", "SAFETY"), "cut off by a content filter"),
        (json.dumps({"choices": [{"message": {"content": "a"}, "finish_reason": {"type": "length"}}]}), CUT),
        *((json.dumps({**json.loads(responses("a")), **end}), "broken off by the endpoint") for end in BROKEN),
        (json.dumps({"output": [{"type": "reasoning", "content": "a"}]}), "thoughts without an answer (reasoning)"),
        (json.dumps({"output": [{"phase": "commentary", "content": "a"}]}), "thoughts without an answer (commentary)"),
        (chat(None, "content_filter"), "cut off by a content filter"),
    ],
)
def test_why_there_is_no_text(body: str, problem: str) -> None:
    assert read_reply(body).problem == problem


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        *((chat("{}", end), "cut off by the limit of tokens") for end in ("length", "MAX_TOKENS", "model_length")),
        (chat("{}", "content_filter"), "cut off by a content filter"),
        (chat("{}", "error"), "broken off by the endpoint"),
        (chat("{}", refusal="I cannot."), "a refusal"),
        (responses([{"type": "output_text", "text": "{}"}], "max_output_tokens"), "cut off by the limit of tokens"),
        *((chat("{}", end), "") for end in ("stop", "eos", None, 3)),  # type: ignore[arg-type]
    ],
)
def test_a_text_that_is_no_final_answer(body: str, problem: str) -> None:
    assert read_reply(body) == Reply("{}", None, problem)


@settings(max_examples=30)
@given(st.sampled_from([("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")]), JSON, JSON)
def test_tokens_are_whole_numbers_or_unknown(names: tuple[str, str], first: Any, second: Any) -> None:
    tokens = read_reply(json.dumps({"usage": dict(zip(names, (first, second), strict=True))})).tokens
    is_counted = all(type(v) is int and 0 <= v < 2**31 for v in (first, second))
    assert tokens == ((first, second) if is_counted else None)
