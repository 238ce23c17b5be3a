"""Request bodies and replies of the two OpenAI APIs, `chat` (chat/completions) and `responses`."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no request can carry
PATHS = {"chat": "/chat/completions", "responses": "/responses"}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `has_picture`: the record's picture goes with the text."""

    role: str
    text: str
    has_picture: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer's body says; `tokens` (in, out) is None where the endpoint does not count them."""

    text: str
    tokens: tuple[int, int] | None


def body_of(
    api: str,
    model: str,
    messages: Sequence[Message],
    picture: str,
    schema: Mapping[str, Any] | None,
    at_most: int,
    request: Mapping[str, Any],
) -> dict[str, Any]:
    """The body of a request.

    Args:
        picture: as a data URL.
        schema: of the reply; None = the endpoint knows no response format.
        at_most: tokens of the reply.
        request: further fields, which win over ours.
    """
    is_chat = api == "chat"
    turns = [{"role": m.role, "content": _content(m, picture, is_chat)} for m in messages]
    body: dict[str, Any] = {"model": model}
    if is_chat:
        body |= {"messages": turns, "max_completion_tokens": at_most}
    else:
        body |= {"input": turns, "max_output_tokens": at_most, "store": False}
    if schema is not None:
        named = {"name": "annotation", "strict": True, "schema": schema}
        shape = {"response_format": {"type": "json_schema", "json_schema": named}}
        body |= shape if is_chat else {"text": {"format": {"type": "json_schema", **named}}}
    return {**body, **request}


def _content(message: Message, picture: str, is_chat: bool) -> str | list[dict[str, Any]]:
    if not message.has_picture:
        return message.text
    if is_chat:
        image: dict[str, Any] = {"type": "image_url", "image_url": {"url": picture, "detail": "high"}}
        return [{"type": "text", "text": message.text}, image]
    image = {"type": "input_image", "image_url": picture, "detail": "high"}
    return [{"type": "input_text", "text": message.text}, image]


def reply_of(body: str) -> Reply:
    """The text and the tokens in a body of either API; anything else is an empty text: never raises."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return Reply("", None)
    if not isinstance(value, dict):
        return Reply("", None)
    texts = []
    for choice in _list(value.get("choices"))[:1]:
        message = _dict(_dict(choice).get("message"))
        texts += [_text(message.get("content")) or _text(message.get("refusal"))]
    for item in _list(value.get("output")):
        texts += [_text(_dict(item).get("content"))]
    return Reply(_SURROGATE.sub("\ufffd", "".join(texts)), _tokens(_dict(value.get("usage"))))


def _text(content: Any) -> str:
    """A text, or the texts of a list of parts; what a model thought before it answered is none."""
    if isinstance(content, str):
        return content
    parts = [_dict(part) for part in _list(content)]
    texts = [p.get("text") if p.get("type", "text") in ("text", "output_text") else p.get("refusal") for p in parts]
    return "".join(t for t in texts if isinstance(t, str))


def _tokens(usage: dict[str, Any]) -> tuple[int, int] | None:
    for names in (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")):
        said, answered = (usage.get(name) for name in names)
        if type(said) is int and type(answered) is int and 0 <= said < 2**31 and 0 <= answered < 2**31:
            return said, answered
    return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
