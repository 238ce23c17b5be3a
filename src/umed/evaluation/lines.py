"""Answers to MAU queries as prediction lines, the format of `predictions/<stage>/mau.jsonl`."""

from collections.abc import Sequence
from typing import Any

from umed.chat import Processor, Prompt
from umed.rollout import Answers

Line = dict[str, Any]


def answer_lines(processor: Processor, prompts: Sequence[Prompt], answers: Answers) -> list[Line]:
    """One prediction line an answer, in the format of `predictions/<stage>/mau.jsonl`."""
    per_query = len(answers.ids_BT) // len(prompts)
    rows = zip(answers.ids_BT.cpu(), answers.mask_BT.cpu(), strict=True)
    return [
        answer_line(processor, prompts[b // per_query], processor.decode(ids[mask].tolist()))
        for b, (ids, mask) in enumerate(rows)
    ]


def answer_line(processor: Processor, prompt: Prompt, text: str) -> Line:
    """The prediction line of one answer; boxes are written in full, since rounding could make a thin one empty."""
    record, boxes = prompt.record, processor.read_boxes(text, prompt.view)
    size = (record.width, record.height)
    return {
        "id": record.id,
        "dataset": "mau",
        "split_file": "records.jsonl",
        "question": record.query,
        "answer": prompt.gold,
        "answer_type": "diagnosis",
        "choices": None,
        "output": text,
        "boxes": None if boxes is None else [list(box.to_xyxy(*size)) for box in boxes],
        "scores": None,
        "image": record.image,
        "source": record.source,
        "category": record.category,
        "gold_boxes": [list(box.to_xyxy(*size)) for box in record.boxes],
        "width": record.width,
        "height": record.height,
        "categories": sorted({record.category, *prompt.others}),
    }
