"""`Prediction`: a model's answer to a question; one line of `predictions/<stage>/<dataset>.jsonl`."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from umed.boxes import Box
from umed.evaluation.question import BoxQuestion, Corners, Number, Question
from umed.thoughts import find_thoughts, without_thoughts

_HEAD = ("id", "dataset", "split_file", "question", "answer", "answer_type", "choices")


class Prediction(BaseModel):
    """A question with the answer that a model gave."""

    model_config = ConfigDict(frozen=True)

    question: Question
    output: StrictStr = Field(description="the model's text, empty if it gave none,")
    boxes: tuple[Corners, ...] | None = Field(
        default=None, description="a list of boxes of four numbers, or null,"
    )  # in pixels; null = none could be read
    scores: dict[StrictStr, Number] | None = Field(default=None, description="an object label -> number, or null,")
    # share on the gold region of the attention of the tokens that name the abnormality, equation (12)
    attention: Number | None = Field(default=None, description="a number or null")

    @classmethod
    def from_line(cls, line: Mapping[str, Any], question_type: type[Question] = Question) -> Self:
        """The prediction of a line of a file.

        Raises:
            ValueError: a field is missing or of the wrong type.
        """
        item = {k: line[k] for k in question_type.model_fields if k in line and k != "extra"}
        answer = {k: line[k] for k in ("output", "boxes", "scores", "attention") if k in line}
        try:
            return cls.model_validate({**answer, "question": question_type.model_validate(item)})
        except ValidationError as error:
            fields = {**cls.model_fields, **question_type.model_fields}
            name = str(error.errors()[0]["loc"][0])
            wanted = f"{fields[name].description} is expected"
            raise ValueError(
                f"{name} is {short(line[name])}: {wanted}" if name in line else f"no {name}: {wanted}"
            ) from None

    @property
    def final_answer(self) -> str:
        """The output without thoughts, which every rule reads; empty where it ends inside one."""
        return without_thoughts(self.output) or ""

    @property
    def has_thought(self) -> bool:
        return bool(find_thoughts(self.output))

    @property
    def is_unreadable(self) -> bool:
        """Whether there is nothing to read: no text behind a thought, or neither text nor boxes nor scores."""
        if self.output.strip():
            return not self.final_answer.strip()
        return self.boxes is None and not self.scores

    @property
    def said_boxes(self) -> list[Box] | None:
        """The boxes of the answer that have an area; None when none could be read or the item has no region."""
        if self.boxes is None or not isinstance(self.question, BoxQuestion):
            return None
        return self.question.to_boxes(self.boxes)

    def to_line(self) -> dict[str, Any]:
        """The line of a file, its fields in a fixed order."""
        fields = self.question.model_dump(mode="json")
        tail = {k: v for k, v in fields.items() if k not in _HEAD and k != "image"}
        if self.question.closed_by is None:
            del tail["closed_by"]
        boxes = None if self.boxes is None else [list(corners) for corners in self.boxes]
        answer = {"output": self.output, "boxes": boxes, "scores": self.scores}
        if not tail.get("also_gold"):
            tail.pop("also_gold", None)
        if self.attention is not None:
            tail["attention"] = self.attention
        return {**{k: fields[k] for k in _HEAD}, **answer, "image": self.question.image, **tail}


def short(value: Any) -> str:
    """A value as it may stand in an error message."""
    text = ascii(value) if not str(value).isprintable() else repr(value)
    return text if len(text) < 80 else text[:77] + "..."
