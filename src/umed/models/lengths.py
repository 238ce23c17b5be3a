"""How many tokens records take, told without their pixels."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import Image

from umed.errors import InputError
from umed.records import Record

if TYPE_CHECKING:
    from umed.models.family import EncodedPicture, FamilyProcessor


class Lengths:
    """Tokens of a record's prompt and of its gold answer, as the processor would encode them.

    A model family cuts a picture by its size alone, so a blank one of each size is encoded, once. Image tokens in a row
    are tokenized as one and counted: the tokenizer never merges them.
    """

    def __init__(self, processor: FamilyProcessor) -> None:
        self.processor = copy(processor)
        self.processor.image_processor = quick = copy(processor.image_processor)
        quick.do_rescale, quick.do_normalize, quick.resample = False, False, Image.Resampling.NEAREST  # of no pixels
        self.pictures: dict[tuple[int, int], EncodedPicture] = {}  # by size, without pixels
        self.repeated = re.compile(f"(?:{re.escape(processor.image_token)})+")

    def __call__(self, record: Record) -> tuple[int, int]:
        """Raises InputError: what `FamilyProcessor.prompt` refuses."""
        processor, size = self.processor, (record.width, record.height)
        if size not in self.pictures:
            self.pictures[size] = replace(processor.see(Image.new("RGB", size), record), inputs={})
        picture = self.pictures[size]
        ids = processor.prompt_ids(record.query, self.repeated.sub(processor.image_token, picture.text))
        runs = self.repeated.findall(picture.text)
        left_out = sum(map(len, runs)) // len(processor.image_token) - len(runs)
        prompt = len(ids) + left_out
        check_prompt(processor, record, prompt, ids.count(processor.image_id) + left_out, picture.view.tokens)
        return prompt, len(processor.answer_ids(record, picture.view))


def check_prompt(
    processor: FamilyProcessor, record: Record, length: int, image_tokens: int, picture_tokens: int
) -> None:
    """Refuse a prompt of so many tokens.

    Args:
        image_tokens: found in the prompt; picture_tokens: that its picture has.

    Raises:
        InputError: the query has image tokens of its own, or the prompt is too long.
    """
    if image_tokens != max(picture_tokens, 1):
        raise InputError(
            f"{record.id}: its query has {processor.image_token} in it, which stands for a picture: remove it"
        )
    if length <= processor.max_prompt_tokens:
        return
    room = processor.max_prompt_tokens - (length - picture_tokens)
    advice = processor.advise(room) if room > 0 else ""
    raise InputError(
        f"{record.id}: the prompt has {length} tokens, {picture_tokens} of them the picture's; allowed are "
        f"{processor.max_prompt_tokens} (model.processor.max_prompt_tokens and the model's own context): "
        f"{advice or 'shorten the query or use a model with a longer context'}"
    )
