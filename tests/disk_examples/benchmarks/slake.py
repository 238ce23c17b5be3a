"""A SYNTHETIC SLAKE of a few questions in two languages; the first record's fields are those of the release."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from umed.evaluation.benchmarks.base import Example
from umed.synthetic.benchmark_formats import write_slake

FIRST: dict[str, Any] = {
    "img_id": 102,
    "img_name": "xmlab102/source.jpg",
    "question": "What modality is used to take this image?",
    "answer": "CT",
    "q_lang": "en",
    "location": "Lung",
    "modality": "CT",
    "answer_type": "OPEN",
    "base_type": "vqa",
    "triple": ["vhead", "_", "_"],
    "qid": 11934,
    "content_type": "Modality",
}


def _row(qid: int, question: str, answer: Any, kind: str, language: str = "en", image: int = 102) -> dict[str, Any]:
    own = {"qid": qid, "question": question, "answer": answer, "answer_type": kind, "q_lang": language}
    return {**FIRST, **own, "img_id": image, "img_name": f"xmlab{image}/source.jpg"}


def write_example(root: Path) -> Example:
    """Write it: comma lists, two spellings, Chinese, a training part that shares a picture."""
    test = [
        FIRST,
        _row(11935, "Which organs are there?", "Lung, Spinal Cord", "OPEN"),
        _row(11936, "Does the picture contain lung?", "Yes", "CLOSED"),
        _row(11937, "图像里面包含肺吗?", "包含", "CLOSED", "zh"),
        _row(11938, "Where is it?", "Spinal cord", "OPEN", image=103),
        _row(11939, "Left or right?", "Left ", "CLOSED", image=104),
    ]
    train = [_row(1, "这是CT吗?", "是", "CLOSED", "zh"), _row(2, "Which organs are there?", "Lung", "OPEN", image=103)]
    pictures = {f"xmlab{k}/source.jpg": Image.new("RGB", (48, 48), (k, 40, 80)) for k in (102, 103, 104)}
    write_slake(root, {"test": test, "train": train, "validate": test[:1]}, pictures)
    path = root / "test.json"
    path.write_text(
        "\ufeff" + json.dumps(test, ensure_ascii=False).replace("}, {", "},\r\n{"), encoding="utf-8", newline=""
    )
    return Example(
        items={
            "11934": ("open", "CT"),
            "11935": ("open", "Lung, Spinal Cord"),
            "11936": ("closed", "Yes"),
            "11938": ("open", "Spinal cord"),
            "11939": ("closed", "Left"),
        },
        train=2,
    )
