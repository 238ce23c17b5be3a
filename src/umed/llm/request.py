"""The bodies of requests to the two OpenAI APIs, `chat` (chat/completions) and `responses`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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

    Args:
        request: further fields, which win over the others; a field that is null is not sent.
        picture: a data URL.
        schema: of the reply; None = any text.
    """
    body = {"model": model, **api.body(messages, picture, schema, max_tokens), **request}
    return {name: value for name, value in body.items() if value is not None}
