"""What is read out of an answer: text without thoughts, tokens; garbage never raises."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def responses(content: Any) -> str:
    return json.dumps({"output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": content}]})


@settings(max_examples=40)
@given(
    JSON | st.builds(lambda value: {"choices": [value]}, JSON) | st.builds(lambda v: {"output": [v], "usage": v}, JSON)
)
def test_any_body_is_a_text_or_a_problem(value: Any) -> None:
    for body in (json.dumps(value), json.dumps(value)[:-1]):
        reply = read_reply(body)
        assert bool(reply.text.strip()) != bool(reply.problem)
        reply.text.encode()


@pytest.mark.parametrize("body", ["", "<html>", "[" * 100_000, "{not json", "[]", '{"choices": []}', "null"])
def test_what_is_no_completion(body: str) -> None:
    assert read_reply(body) == Reply("", None, "a reply that is no completion")


@pytest.mark.parametrize("wrap", [chat, responses])
def test_texts_parts_and_thoughts(wrap: Any) -> None:
    kind = "text" if wrap is chat else "output_text"
    parts = [{"type": "thinking", "text": "Hm."}, {"type": kind, "text": "a"}, {"type": kind, "text": "b"}, None, 1]
    assert read_reply(wrap(parts)).text == "ab"
    assert read_reply(wrap([{"type": "refusal", "refusal": "No."}])).text == "No."
    assert read_reply(wrap([{"type": kind, "text": "<think>one</think> two"}])).text == "two"
    assert read_reply(wrap([{"type": kind, "text": "x\ud83d"}])).text == "x\ufffd", "half a character"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (chat("<think>the format is {}"), "the reply ends inside a thought"),
        (chat("<think>one</think>\n"), "an empty reply"),
        (chat(None), "an empty reply"),
        (chat(5), "an empty reply"),
        (chat(None, reasoning_content="x"), "thoughts without an answer"),
        (chat("", "length", reasoning="x"), "thoughts without an answer, cut off by the limit of tokens"),
        (chat(None, tool_calls=[{"id": 1}]), "a tool call instead of a text"),
    ],
)
def test_why_there_is_no_text(body: str, problem: str) -> None:
    assert read_reply(body) == Reply("", None, problem)


@settings(max_examples=30)
@given(st.sampled_from([("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")]), JSON, JSON)
def test_tokens_are_whole_numbers_or_unknown(names: tuple[str, str], first: Any, second: Any) -> None:
    tokens = read_reply(json.dumps({"usage": dict(zip(names, (first, second), strict=True))})).tokens
    is_counted = all(type(v) is int and 0 <= v < 2**31 for v in (first, second))
    assert tokens == ((first, second) if is_counted else None)
