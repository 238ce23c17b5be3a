"""MAU metrics on prediction lines: accuracy, IoU, acc@0.5 and unparsed, per source and on average."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from umed.boxes import Box, iou_union
from umed.chat import Processor, Prompt
from umed.metrics.mentions import named
from umed.rollout import Answers

Line = dict[str, Any]


def answer_lines(processor: Processor, prompts: Sequence[Prompt], answers: Answers) -> list[Line]:
    """One prediction line an answer, in the format of `predictions/<stage>/mau.jsonl`."""
    per_query = len(answers.ids_BT) // len(prompts)
    lines = []
    for b, (ids, mask) in enumerate(zip(answers.ids_BT.cpu(), answers.mask_BT.cpu(), strict=False)):
        prompt = prompts[b // per_query]
        record, text = prompt.record, processor.decode(ids[mask].tolist())
        boxes = processor.read_boxes(text, prompt.view)
        size = (record.width, record.height)
        lines.append(
            {
                "id": record.id,
                "dataset": "mau",
                "split_file": "records.jsonl",
                "question": record.query,
                "answer": prompt.gold,
                "answer_type": "diagnosis",
                "choices": None,
                "output": text,
                "boxes": None if boxes is None else [_pixels(box, size) for box in boxes],
                "scores": None,
                "image": record.image,
                "source": record.source,
                "category": record.category,
                "gold_boxes": [_pixels(box, size) for box in record.boxes],
                "width": record.width,
                "height": record.height,
                "categories": sorted({record.category, *prompt.others}),
            }
        )
    return lines


def verdicts(line: Line) -> dict[str, float]:
    """The rules of one line: `accuracy` names the gold category and no other of its source; `iou` is r_loc (5)."""
    size = (line["width"], line["height"])
    said = [Box.from_xyxy(b, *size) for b in line["boxes"] or []]
    iou = iou_union(said, [Box.from_xyxy(b, *size) for b in line["gold_boxes"]]) if said else 0.0
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


def _pixels(box: Box, size: tuple[int, int]) -> list[float]:
    return [round(v, 2) for v in box.to_xyxy(*size)]
