"""`OpenAnswerJudge`: a language model says whether an open answer means the gold one."""

from typing import Any

from umed.judges.base import JudgeItem, Verdict
from umed.judges.openai_judge import OpenAIJudge
from umed.llm.failures import NoAnswer


class OpenAnswerJudge(OpenAIJudge):
    """`OpenAIJudge` with two verdicts: 1, the answer means the gold one, and 0. Any other score is a failure."""

    owner = "open_judge"
    title = "judging open answers"
    schema: dict[str, Any] = {  # noqa: RUF012
        "type": "object",
        "properties": {"reason": {"type": "string"}, "score": {"type": "integer", "enum": [0, 1]}},
        "required": ["reason", "score"],
        "additionalProperties": False,
    }

    async def _ask(self, item: JudgeItem) -> tuple[Verdict, NoAnswer | None]:
        verdict, failure = await super()._ask(item)
        if verdict.score not in (None, 0, 1):
            verdict = Verdict(None, "a score that is neither 0 nor 1")
        return verdict, failure
