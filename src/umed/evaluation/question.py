"""`Question`: one item of a data set with its gold answer. `BoxQuestion`: one whose answer has a region."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr

from umed.boxes import Box, BoxError
from umed.records import SYNTHETIC, Record

CONTROLS = "_controls"  # ends the data set's name of its normal pictures


def _check_name(text: str) -> str:
    if not text.strip():
        raise ValueError("blank")
    return text


Name = Annotated[StrictStr, AfterValidator(_check_name)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Corners = tuple[Number, Number, Number, Number]  # x0, y0, x1, y1 in pixels of the stored picture
Side = Annotated[int, Field(strict=True, gt=0, lt=2**31)]
Choices = Annotated[tuple[StrictStr, ...] | None, AfterValidator(lambda choices: choices or None)]


class Question(BaseModel):
    """One item of a data set. The descriptions of its fields are what error messages ask for."""

    model_config = ConfigDict(frozen=True)

    id: Name = Field(description="a text, the one that the item has in its data set,")
    dataset: StrictStr = Field(description="the name of a data set")
    split_file: StrictStr | None = Field(default=None, description="the name of the split's file")
    question: StrictStr = Field(default="", description="a text")
    answer: StrictStr | StrictInt | Number | None = Field(description="the gold answer, a text, a number or null,")
    answer_type: StrictStr = Field(description="the name of a type")
    choices: Choices = Field(default=None, description="a list of texts or null")
    image: StrictStr | None = Field(default=None, description="the picture's name")
    closed_by: StrictStr | None = Field(default=None, description="what makes a question closed")
    # what else the data set says of the item; stays in memory
    extra: Mapping[str, Any] = Field(default_factory=dict, exclude=True, repr=False)

    @property
    def part(self) -> str:
        """What the item belongs to: pictures are exchanged and counted within a part."""
        return self.dataset

    @property
    def gold(self) -> str:
        """The gold answer as text."""
        return str(self.answer)

    @property
    def split(self) -> str:
        """The split file and, where it is ambiguous, the meaning of "closed"."""
        file = self.split_file or "not stated"
        return f"{file}, closed by {self.closed_by}" if self.closed_by else file

    @property
    def is_synthetic(self) -> bool:
        """Whether a program drew the picture."""
        return self.dataset.startswith(SYNTHETIC)

    def to_record(self, query: str, width: int, height: int) -> Record:
        """A record without boxes, from which a model's processor makes the prompt."""
        return Record(self.id, self.part, self.image or "", width, height, (), "", "", self.image or "", query=query)


class BoxQuestion(Question):
    """An item of a data set with boxes, such as MAU: a diagnosis of one category with all its regions."""

    source: Name = Field(description="the name of the source")
    category: Name = Field(description="the name of the abnormality")
    gold_boxes: tuple[Corners, ...] = Field(description="a list of boxes of four numbers, at least one,")
    width: Side = Field(description="the picture's width in pixels")
    height: Side = Field(description="the picture's height in pixels")
    categories: tuple[StrictStr, ...] = Field(default=(), description="a list of names")  # those of the source
    # other categories that are gold for the same picture, each an item of its own
    also_gold: tuple[StrictStr, ...] = Field(default=(), description="a list of names")

    @property
    def part(self) -> str:
        return self.source

    @property
    def is_synthetic(self) -> bool:
        return self.source.startswith(SYNTHETIC) or super().is_synthetic

    @property
    def true_boxes(self) -> list[Box]:
        return self.to_boxes(self.gold_boxes)

    def to_boxes(self, corners: tuple[Corners, ...]) -> list[Box]:
        """Pixel corners in this picture as boxes; those too thin to have an area are left out."""
        boxes = []
        for four in corners:
            try:
                boxes.append(Box.from_xyxy(four, self.width, self.height))
            except BoxError:
                continue
        return boxes


def without_stand_in(dataset: str) -> str:
    """The data set whose rules apply: a synthetic stand-in follows the rules of the one that it stands in for."""
    return dataset.removeprefix(SYNTHETIC)
