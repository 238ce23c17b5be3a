"""`OpenAnswerJudge`: what differs from `OpenAIJudge`, whose tests stand beside this file."""

import json
from pathlib import Path
from typing import Any

import pytest
from composed import composed
from hydra.utils import instantiate
from pytest_httpserver import HTTPServer
from served import completion

from umed.errors import InputError
from umed.judges.base import JudgeItem
from umed.judges.open_answers import OpenAnswerJudge


def shipped(folder: Path, *overrides: str) -> Any:
    """The judge as a command builds it."""
    cfg = composed("open_judge=openai", "open_judge.model=m", f"paths.run_dir={folder}", *overrides)
    return instantiate(cfg.open_judge)


def items(*answers: str) -> list[JudgeItem]:
    return [JudgeItem("Which organ?", "liver", answer, "liver") for answer in answers]


def test_the_shipped_judge_has_two_verdicts_and_anything_else_is_a_failure(
    serve: Any, httpserver: HTTPServer, tmp_path: Path
) -> None:
    scores = {"the liver": 1, "lung": 0, "liver or lung": 0.5, "": True}
    came = serve(
        lambda body: completion(
            json.dumps({"reason": "x", "score": scores[body["messages"][1]["content"].split("<answer>")[1][:-9]]})
        )
    )
    judge = shipped(tmp_path, f"open_judge.base_url={httpserver.url_for('/v1')}")
    assert isinstance(judge, OpenAnswerJudge)
    for asked in (4, 6):  # a failure is asked for again
        assert [v.score for v in judge(items(*scores))] == [1, 0, None, None]
        assert len(came) == asked
    assert came[0]["response_format"]["json_schema"]["schema"]["properties"]["score"]["enum"] == [0, 1]
    user = "<question>Which organ?</question>\n<reference>liver</reference>\n<answer>the liver</answer>"
    assert user in [body["messages"][1]["content"] for body in came]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("open_judge.concurrency=0", "^open_judge.concurrency=0"),
        ("open_judge.base_url=here", "^open_judge.base_url is no address"),
        ("open_judge.prompt.user=", "^open_judge.prompt has no place for answer"),
        ("open_judge.base_url=null", "^open_judge: no key"),
    ],
)
def test_its_settings_are_named(monkeypatch: Any, tmp_path: Path, override: str, told: str) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(Exception) as error:  # Hydra wraps it
        shipped(tmp_path, override)
    with pytest.raises(InputError, match=told):
        raise error.value.__cause__ or error.value


def test_an_endpoint_that_refuses_is_told_by_its_own_name(serve: Any, httpserver: HTTPServer, tmp_path: Path) -> None:
    serve(lambda body: completion(""))
    judge = shipped(tmp_path, f"open_judge.base_url={httpserver.url_for('/v1')}")
    for _ in range(2):
        assert judge(items("a"))[0].score is None
    with pytest.raises(InputError, match="^open_judge: http.*open_judge.model"):
        judge(items("a"))
