"""The bodies of requests to the two OpenAI APIs, `chat` and `responses`, and what the bodies of answers say."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from umed.llm.failures import quote
from umed.thoughts import without_thoughts

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `has_picture`: the request's picture goes with the text."""

    role: str
    text: str
    has_picture: bool = False


class Api(NamedTuple):
    """`body(messages, picture, schema, max_tokens)` gives the fields of a request that differ between the APIs."""

    path: str
    body: Callable[[Sequence[Message], str, Json | None, int | None], dict[str, Any]]


def _chat(messages: Sequence[Message], picture: str, schema: Json | None, max_tokens: int | None) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": picture, "detail": "high"}}
    body: dict[str, Any] = {"messages": _turns(messages, "text", image), "max_completion_tokens": max_tokens}
    if schema is not None:
        named = {"name": "reply", "strict": True, "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


def _responses(
    messages: Sequence[Message], picture: str, schema: Json | None, max_tokens: int | None
) -> dict[str, Any]:
    image = {"type": "input_image", "image_url": picture, "detail": "high"}
    body: dict[str, Any] = {
        "input": _turns(messages, "input_text", image),
        "max_output_tokens": max_tokens,
        "store": False,
    }
    if schema is not None:
        body["text"] = {"format": {"type": "json_schema", "name": "reply", "strict": True, "schema": schema}}
    return body


def _turns(messages: Sequence[Message], text_type: str, image: Json) -> list[dict[str, Any]]:
    return [
        {"role": m.role, "content": [{"type": text_type, "text": m.text}, image] if m.has_picture else m.text}
        for m in messages
    ]


APIS = {"chat": Api("/chat/completions", _chat), "responses": Api("/responses", _responses)}


def build_body(
    api: Api,
    model: str,
    messages: Sequence[Message],
    *,
    request: Json,
    picture: str = "",
    schema: Json | None = None,
    max_tokens: int | None = None,
) -> dict[str, Any]:
    """The body of a request.

    `request`: further fields, which win over the others; a field that is null is not sent. `picture`: a data URL.
    `schema`: of the reply; None = any text.
    """
    body = {"model": model, **api.body(messages, picture, schema, max_tokens), **request}
    return {name: value for name, value in body.items() if value is not None}


_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no request can carry
_CUT = "cut off by the limit of tokens"
_ENDS = {  # why an answer ended before its end: `finish_reason`, or the reason in `incomplete_details`
    **dict.fromkeys(("length", "max_tokens", "model_length", "max_output_tokens"), _CUT),
    "content_filter": "cut off by a content filter",
    **dict.fromkeys(("safety", "refusal", "recitation"), "cut off by a content filter"),
    "insufficient_system_resource": "broken off by the endpoint",
    "error": "broken off by the endpoint",
    "abort": "broken off by the endpoint",
}
_THOUGHTS = ("commentary", "reasoning_content", "reasoning", "reasoning_details", "thinking", "redacted_thinking")
_CALLS = ("tool_calls", "function_call", "tool_use")


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of an answer; `tokens`: in and out, None if not counted.

    `problem`: why the text is no final answer, "" if it is one: there is none, and where the words went instead; it is
    cut off; it is a refusal.
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
        return Reply("", tokens, _describe_other(body, content))
    choice = _dict(choices[0]) if choices else {}
    messages = [_dict(choice.get("message")), *map(_dict, outputs)]
    final = [one for one in messages if one.get("type") != "reasoning" and one.get("phase") != "commentary"]
    parts = [part for message in final for part in _parts(message.get("content"))]
    refusals = [r for one in (*messages, *parts) if isinstance(r := one.get("refusal"), str) and r.strip()]
    texts = [_text(part) for part in parts if part.get("type", "text") in ("text", "output_text")]
    whole = _SURROGATE.sub("\ufffd", "".join(texts) or "".join(refusals))
    text = without_thoughts(whole)
    end = choice.get("finish_reason") or _dict(content.get("incomplete_details")).get("reason")
    reason = end.get("type") if isinstance(end, dict) else end  # SGLang gives an object
    problems = [_ENDS[reason.lower()]] if isinstance(reason, str) and reason.lower() in _ENDS else []
    if content.get("error") or content.get("status") in ("failed", "cancelled"):
        problems.append("broken off by the endpoint")
    if refusals:
        problems.insert(0, "a refusal")
    elif text is None:
        problems.insert(0, "the reply ends inside a thought")
    elif not text.strip():
        thoughts = ["thoughts without an answer"] if whole.strip() else _find_words([*messages, *parts])
        problems = [*thoughts, *problems] or ["an empty reply"]
    return Reply(text or "", tokens, ", ".join(problems))


def _describe_other(body: str, content: dict[str, Any]) -> str:
    """What a body is that is no answer."""
    if error := content.get("error"):
        words = quote(error)
        return f"an error instead of a completion: {words}" if words else "an error instead of a completion"
    if body.lstrip().startswith("<"):
        return "a web page instead of a completion"
    is_stream = body.startswith(("data:", "event:"))
    return "a stream instead of a completion" if is_stream else "a reply that is no completion"


def _find_words(places: Sequence[dict[str, Any]]) -> list[str]:
    """Where the words of an answer without a text are: fields or types of its messages and parts."""
    names = [
        name
        for one in places
        for name in (*(n for n in one if one[n]), one.get("type"), one.get("phase"))
        if isinstance(name, str)
    ]
    reasons = [f"thoughts without an answer ({name})" for name in names if name in _THOUGHTS]
    return list(dict.fromkeys(reasons + ["a tool call instead of a text" for name in names if name in _CALLS]))


def _parts(content: Any) -> list[dict[str, Any]]:
    """The parts of a content, which is a text, a part or a list of both."""
    parts = content if isinstance(content, list) else [content]
    return [{"text": part} if isinstance(part, str) else _dict(part) for part in parts]


def _text(part: dict[str, Any]) -> str:
    text = part.get("text")
    text = text.get("value") if isinstance(text, dict) else text
    return text if isinstance(text, str) else ""


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
