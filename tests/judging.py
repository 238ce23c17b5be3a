"""A judge that asks a server on the loopback interface, and what both say."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from served import completion
from werkzeug import Response

from umed.judges.base import JudgeItem
from umed.judges.openai_judge import OpenAIJudge

PROMPT = {"system": 'Grade. Reply {"score": 0.5}.', "user": "{query}|{gold}|{answer}"}
VERDICT = '{"reason": "same", "score": 0.8}'


def verdict(score: float) -> Response:
    return completion(json.dumps({"reason": "because", "score": score}))


def answer_in(body: dict[str, Any]) -> str:
    """The answer that a request is about."""
    text: str = body["messages"][1]["content"]
    return text.rpartition("|")[2]


def items(*answers: str) -> list[JudgeItem]:
    return [JudgeItem("What?", "a stone", answer, "stone") for answer in answers]


@pytest.fixture
def make(httpserver: HTTPServer, tmp_path: Path) -> Callable[..., OpenAIJudge]:
    def build(**settings: Any) -> OpenAIJudge:
        defaults = {
            "model": "m", "base_url": httpserver.url_for("/v1"), "prompt": PROMPT, "timeout": 5.0, "max_retries": 2,
            "cache": tmp_path / "run" / "judge.sqlite",
        }  # fmt: skip
        return OpenAIJudge(**{**defaults, **settings})

    return build


def closed_address() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{s.getsockname()[1]}/v1"
