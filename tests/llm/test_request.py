"""The bodies of requests."""

import pytest

from umed.llm.request import APIS, Message, build_body

MESSAGES = (Message("system", "Grade."), Message("user", "Look.", has_picture=True))
SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("api", "turns", "limit", "shape"),
    [
        ("chat", "messages", "max_completion_tokens", "response_format"),
        ("responses", "input", "max_output_tokens", "text"),
    ],
)
def test_the_fields_of_each_api(api: str, turns: str, limit: str, shape: str) -> None:
    request = {"temperature": 0, "top_p": None}
    body = build_body(APIS[api], "m", MESSAGES, request=request, picture="data:x", schema=SCHEMA, max_tokens=9)
    system, user = body[turns]
    assert system == {"role": "system", "content": "Grade."}
    text, image = user["content"]
    assert text["text"] == "Look." and "data:x" in str(image) and "high" in str(image)
    assert body["model"] == "m" and body[limit] == 9 and body["temperature"] == 0
    assert "SCHEMA" not in body and str(SCHEMA) in str(body[shape]) and "top_p" not in body, "null is not sent"
    bare = build_body(APIS[api], "m", MESSAGES[:1], request={"model": "n", limit: None})
    assert bare["model"] == "n" and limit not in bare and shape not in bare, "further fields win"
