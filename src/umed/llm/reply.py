"""What an endpoint's answer says: its text without thoughts, its tokens, and the JSON objects in the text."""

import json
import re
from dataclasses import dataclass
from typing import Any

from umed.thoughts import without_thoughts

_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no request can carry
_ATTEMPTS = 20  # braces that begin no object before a reply counts as unreadable
_EMPTY = (  # field of a message or a choice, why it has no text
    ("tool_calls", "a tool call instead of a text"),
    ("reasoning_content", "thoughts without an answer"),
    ("reasoning", "thoughts without an answer"),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of an answer, "" with the `problem` where there is none.

    `tokens`: in and out, None where the endpoint does not count them.
    """

    text: str
    tokens: tuple[int, int] | None = None
    problem: str = ""


def read_reply(body: str) -> Reply:
    """Read the body of an answer of either API; never raises."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    content = _dict(value)
    choices, outputs = _list(content.get("choices")), _list(content.get("output"))
    tokens = _tokens(_dict(content.get("usage")))
    if not choices and not outputs:
        return Reply("", tokens, "a reply that is no completion")
    choice = _dict(choices[0]) if choices else {}
    message = _dict(choice.get("message"))
    texts = [_text(message.get("content")) or _text(message.get("refusal"))]
    texts += [_text(_dict(item).get("content")) for item in outputs]
    text = without_thoughts(_SURROGATE.sub("\ufffd", "".join(texts)))
    if text is None:
        return Reply("", tokens, "the reply ends inside a thought")
    if text.strip():
        return Reply(text, tokens)
    problems = [problem for field, problem in _EMPTY if message.get(field)]
    problems += ["cut off by the limit of tokens"] if choice.get("finish_reason") == "length" else []
    return Reply("", tokens, ", ".join(dict.fromkeys(problems)) or "an empty reply")


def find_objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects in a text, which may have prose around them."""
    found, failures, position = [], 0, text.find("{")
    while position >= 0 and failures < _ATTEMPTS:
        try:
            value, end = json.JSONDecoder().raw_decode(text, position)
        except (ValueError, RecursionError):
            end, failures = position + 1, failures + 1
        else:
            found.append(value)
        position = text.find("{", end)
    return found


def _text(content: Any) -> str:
    """A text, or the text parts of a list; parts of other types, thoughts among them, are left out."""
    if isinstance(content, str):
        return content
    parts = [_dict(part) for part in _list(content)]
    texts = [p.get("text") if p.get("type", "text") in ("text", "output_text") else p.get("refusal") for p in parts]
    return "".join(t for t in texts if isinstance(t, str))


def _tokens(usage: dict[str, Any]) -> tuple[int, int] | None:
    for names in (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")):
        tokens_in, tokens_out = (usage.get(name) for name in names)
        if type(tokens_in) is int and type(tokens_out) is int and 0 <= tokens_in < 2**31 and 0 <= tokens_out < 2**31:
            return tokens_in, tokens_out
    return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
