"""MAU metrics on prediction lines: accuracy, IoU, acc@0.5 and unparsed, per source and on average."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from umed.boxes import Box, BoxError, iou_union
from umed.chat import Processor, Prompt
from umed.metrics.mentions import named
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


def said_boxes(line: Line) -> list[Box] | None:
    """The boxes of a prediction line that have an area; None when none could be read from the answer."""
    return _boxes(line, "boxes") if isinstance(line["boxes"], list) else None


def verdicts(line: Line) -> dict[str, float]:
    """The rules of one line: `accuracy` names the gold category and no other of its source; `iou` is r_loc (5)."""
    iou = iou_union(said_boxes(line) or [], _boxes(line, "gold_boxes"))
    return {
        "accuracy": float(named(line["output"], line["categories"]) == {line["category"]}),
        "iou": iou,
        "acc@0.5": float(iou >= 0.5),
        "unparsed": float(line["boxes"] is None),
    }


def mau_metrics(lines: Sequence[Line], rules: Sequence[str] = ("accuracy", "iou", "acc@0.5", "unparsed")) -> dict:
    """`mau/<rule>/<source>` and `mau/<rule>/avg`, the plain mean of the sources."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        for rule, value in verdicts(line).items():
            found[rule][line["source"]].append(value)
    metrics: dict[str, float] = {}
    for rule in rules:
        means = {source: sum(v) / len(v) for source, v in sorted(found[rule].items())}
        metrics |= {f"mau/{rule}/{source}": mean for source, mean in means.items()}
        if means:
            metrics[f"mau/{rule}/avg"] = sum(means.values()) / len(means)
    return metrics


def _boxes(line: Line, name: str) -> list[Box]:
    boxes = []
    for corners in line[name]:
        try:
            boxes.append(Box.from_xyxy(corners, line["width"], line["height"]))
        except BoxError:  # so thin that nothing is left of it in pixels
            continue
    return boxes
