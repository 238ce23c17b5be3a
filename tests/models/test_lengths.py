"""Lengths told without pixels are those of the encoded prompts, and refuse the same records in the same words."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import QUERIES, make_record
from umed.boxes import Box
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.lengths import Lengths
from umed.records import Record

SIZES = ((56, 56), (112, 56), (60, 100), (140, 112), (300, 200), (640, 480), (31, 200))


def encode(processor: FamilyProcessor, record: Record) -> tuple[int, int]:
    prompt = processor.prompt(Image.new("RGB", (record.width, record.height)), record)
    return len(prompt.inputs["input_ids"]), len(prompt.answer)


def told(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        call()
    return str(error.value)


def test_lengths_are_those_of_the_prompts(processor: FamilyProcessor) -> None:
    lengths = Lengths(processor)
    records = [make_record(i, *size, boxes=1 + i % 2) for i, size in enumerate(SIZES)]
    texts = (*QUERIES, "\nWhat\n\nis it ?\n", "", " stone  cyst ")
    records += [replace(make_record(7, 112, 56), query=text, diagnosis="") for text in texts]
    for record in records:
        assert lengths(record) == encode(processor, record)
    assert lengths(replace(records[0], diagnosis=""))[1] == 0
    assert len({lengths(r) for r in records}) > 2


def test_each_size_is_encoded_once_and_no_pixels_stay(
    processor: FamilyProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, encode_picture = [], type(processor).encode_picture

    def watch(self: FamilyProcessor, image: Image.Image) -> object:
        seen.append(image.size)
        return encode_picture(self, image)

    monkeypatch.setattr(type(processor), "encode_picture", watch)
    lengths = Lengths(processor)
    for number in range(6):
        lengths(make_record(number, *SIZES[number % 3]))
    assert seen == list(SIZES[:3]) and not any(picture.inputs for picture in lengths.pictures.values())
    assert processor.image_processor.do_rescale  # the processor itself still encodes pixels


def test_what_a_prompt_refuses_is_refused_in_its_words(processor: FamilyProcessor, tiny_folder: Path) -> None:
    record = make_record(0, 112, 112)
    length, _ = encode(processor, record)
    short = type(processor)(str(tiny_folder), max_prompt_tokens=length - 1)
    fitting = type(processor)(str(tiny_folder), max_prompt_tokens=length)
    assert Lengths(fitting)(record)[0] == length
    for refusing, wrong in ((short, record), (processor, replace(record, query=f"Is {processor.image_token} bad ?"))):
        line = told(lambda refusing=refusing, wrong=wrong: Lengths(refusing)(wrong))
        assert line == told(lambda refusing=refusing, wrong=wrong: encode(refusing, wrong)) and record.id in line


def test_a_box_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    from umed.models.backbones.llava import LlavaProcessor
    from umed.synthetic.tiny_models import write_tiny_of

    write_tiny_of("llava")(tmp_path, [*QUERIES, "A stone is seen at ."])
    cropping = LlavaProcessor(str(tmp_path), fit="checkpoint")
    record = replace(make_record(0, 100, 50), boxes=(Box(0, 0, 0.2, 1),))
    assert "does not see" in told(lambda: Lengths(cropping)(record))
    assert Lengths(LlavaProcessor(str(tmp_path), fit="pad"))(record)[1] > 3
