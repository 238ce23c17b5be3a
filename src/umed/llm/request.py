"""The bodies of requests to the two OpenAI APIs, `chat` and `responses`, and what the bodies of answers say."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
_EMPTY = (  # field of a message or a choice, why it has no text
    ("tool_calls", "a tool call instead of a text"),
    ("reasoning_content", "thoughts without an answer"),
    ("reasoning", "thoughts without an answer"),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of an answer, "" with the `problem` if there is none; `tokens`: in and out, None if not counted."""

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
