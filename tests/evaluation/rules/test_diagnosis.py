"""The MAU rules on prediction lines."""

import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from umed.evaluation.lines import answer_line, answer_lines
from umed.evaluation.rules.mau import mau_metrics, said_boxes, verdicts

from umed.boxes import Box
from umed.chat import Prompt
from umed.models.family import FamilyProcessor
from umed.rollout import Answers


def line(**changes: object) -> dict:
    return {
        "output": "A stone is seen.",
        "boxes": [[16, 16, 48, 48]],
        "gold_boxes": [[16, 16, 48, 48]],
        "category": "stone",
        "categories": ["cyst", "stone"],
        "source": "a",
        "width": 128,
        "height": 64,
    } | changes


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (1, 1, 1, 0)),
        ({"output": "A stone and a cyst."}, (0, 1, 1, 0)),
        ({"output": "No cyst. A stone."}, (1, 1, 1, 0)),
        ({"output": "No stone."}, (0, 1, 1, 0)),
        ({"boxes": None}, (1, 0, 0, 1)),
        ({"boxes": []}, (1, 0, 0, 0)),
        ({"boxes": [[16, 16, 48, 32]]}, (1, 0.5, 1, 0)),
        ({"boxes": [[16, 16, 32, 32]]}, (1, 0.25, 0, 0)),
        ({"boxes": [[16, 16, 48, 48], [16, 16, 48, 48]]}, (1, 1, 1, 0)),
        ({"gold_boxes": []}, (1, 0, 0, 0)),
        ({"boxes": [[11, 3, 12, 4]], "gold_boxes": [[11, 3, 12, 5]], "width": 22, "height": 6}, (1, 0.5, 1, 0)),
        ({"boxes": [[2, 7, 9, 8]], "gold_boxes": [[2, 7, 9, 9]], "width": 10, "height": 9}, (1, 0.5, 1, 0)),
        ({"boxes": [[16, 16, 16, 48]]}, (1, 0, 0, 0)),
        ({"boxes": [[16, 16, 16, 48], [16, 16, 48, 48], [200, 0, 300, 9]]}, (1, 1, 1, 0)),
    ],
)
def test_each_rule(changes: dict, expected: tuple[float, ...]) -> None:
    found = verdicts(line(**changes))
    assert [found[r] for r in ("accuracy", "iou", "acc@0.5", "unparsed")] == pytest.approx(list(expected))


def test_the_average_is_the_plain_mean_of_the_sources() -> None:
    lines = [line(), line(), line(), line(source="b", output="nothing", boxes=None)]
    found = mau_metrics(lines)
    assert found["mau/accuracy/a"] == 1 and found["mau/accuracy/b"] == 0
    assert found["mau/accuracy/avg"] == found["mau/iou/avg"] == found["mau/acc@0.5/avg"] == 0.5
    assert found["mau/unparsed/avg"] == 0.5 and found["mau/unparsed/a"] == 0
    assert mau_metrics([]) == {}
    assert set(mau_metrics(lines, ["iou"])) == {"mau/iou/a", "mau/iou/b", "mau/iou/avg"}


def test_lines_belong_to_their_prompts(make_prompts: Callable[..., list[Prompt]], processor: FamilyProcessor) -> None:
    """Two answers a query; boxes are pixels of the stored image, 112 wide but 100 x 60 in the second record."""
    prompts = make_prompts(2, (112, 112), (60, 100))
    gold = [p.answer.tolist() for p in prompts]
    other = processor.tokenizer("A cyst.", add_special_tokens=False)["input_ids"]
    rows = [gold[0], other, gold[1], other]
    length = max(map(len, rows)) + 2
    ids = torch.tensor([r + [11] * (length - len(r)) for r in rows])  # what stands beyond the mask is not said
    mask = torch.arange(length) < torch.tensor([len(r) for r in rows])[:, None]
    lines = answer_lines(
        processor, prompts, Answers(ids, mask, torch.zeros(4, dtype=torch.bool), torch.zeros(4, length))
    )
    assert [x["id"] for x in lines] == ["synthetic/0"] * 2 + ["synthetic/1"] * 2
    assert [x["output"] for x in lines[1::2]] == ["A cyst."] * 2 and lines[1]["boxes"] is None
    assert lines[0]["gold_boxes"] == [[28, 28, 84, 56]] and lines[0]["boxes"] == [[28, 28, 84, 56]]
    assert lines[2]["gold_boxes"] == [[15, 25, 45, 50]]
    assert [verdicts(x)["accuracy"] for x in lines] == [1, 0, 1, 1]
    assert verdicts(lines[0])["iou"] == pytest.approx(1) and verdicts(lines[2])["iou"] > 0.9
    assert lines[0]["categories"] == ["cyst", "lung nodule", "stone"]
    assert {"dataset", "split_file", "question", "answer", "answer_type", "choices", "scores", "image"} <= set(lines[0])


NUMBER = st.one_of(st.integers(-5, 1005), st.floats(-5, 1005), st.floats())
THIN = st.floats(0, 1000, exclude_max=True).map(lambda v: (v, math.nextafter(v, math.inf)))
CORNERS = st.one_of(
    st.lists(NUMBER, min_size=3, max_size=5),
    st.builds(lambda x, y: [x[0], y[0], x[1], y[1]], THIN | st.tuples(NUMBER, NUMBER), THIN),
)
SAID = st.builds(
    lambda corners, before, after: before + json.dumps([{"bbox_2d": c, "label": "stone"} for c in corners]) + after,
    st.lists(CORNERS, max_size=3), st.text(max_size=20), st.text(max_size=20),
)  # fmt: skip


@given(st.one_of(SAID, st.text()), st.integers(1, 5000), st.integers(1, 5000))
@example('[{"bbox_2d":[999.999,10,1005,500],"label":"stone"}]', 112, 112)
@example('[{"bbox_2d":[500.00000000000006,10,500.0000000000001,500]}]', 3, 3)
def test_whatever_is_said_can_be_written_and_judged(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]], text: str, width: int, height: int
) -> None:
    [prompt] = make_prompts(1, (56, 56))
    view = replace(prompt.view, width=width, height=height)
    prompt = replace(prompt, view=view, record=replace(prompt.record, width=width, height=height))
    made = answer_line(processor, prompt, text)
    read = json.loads(json.dumps(made))
    found = verdicts(read)
    assert read == made and found == verdicts(made)
    assert 0 <= found["iou"] <= 1 + 1e-6 and found["unparsed"] == (processor.read_boxes(text, view) is None)
    assert (said_boxes(read) is None) == bool(found["unparsed"])


def test_a_thin_box_at_the_border_is_still_a_box(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    made = answer_line(processor, make_prompts(1)[0], '[{"bbox_2d":[999.999,10,1005,500],"label":"stone"}]')
    assert said_boxes(made) == [Box(0.999999, 0.01, 1, 0.5)]
