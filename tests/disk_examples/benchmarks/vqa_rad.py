"""A SYNTHETIC VQA-RAD of a dozen questions."""

from pathlib import Path
from typing import Any

from PIL import Image

from umed.evaluation.benchmarks.base import Example
from umed.synthetic.benchmark_formats import write_vqa_rad

ROWS: list[dict[str, Any]] = [
    {
        "qid": 1,
        "phrase_type": "test_freeform",
        "question": "Is there a mass?",
        "answer": "Yes",
        "answer_type": "CLOSED ",
    },
    {
        "qid": 2,
        "phrase_type": "test_para",
        "question": "Where is it? ",
        "answer": " left lung\n",
        "answer_type": "OPEN",
    },
    {"qid": 3, "phrase_type": "test_freeform", "question": "How many are there?", "answer": 2, "answer_type": "OPEN"},
    {
        "qid": 4,
        "phrase_type": " test_freeform ",
        "question": "Left or right?",
        "answer": "left",
        "answer_type": "CLOSED",
    },
    {"qid": 5, "phrase_type": "test_freeform", "question": "What else?", "answer": None, "answer_type": "OPEN"},
    {"qid": 6, "phrase_type": "freeform", "question": "Is there a mass?", "answer": "no", "answer_type": "CLOSED"},
    {"qid": 7, "phrase_type": "para", "question": "Where is it?", "answer": "liver, spleen", "answer_type": "OPEN"},
    {"qid": 8, "phrase_type": "test_freeform", "question": "Is it gone?", "answer": "yes", "answer_type": "CLOSED"},
    {"qid": 9, "phrase_type": "test_freeform", "question": "Is it cut?", "answer": "no", "answer_type": "CLOSED"},
    {"qid": 10, "phrase_type": "test_freeform", "question": "", "answer": "no", "answer_type": "CLOSED"},
    {"qid": 11, "phrase_type": "test_freeform", "question": "Is it “axial”?", "answer": "No", "answer_type": "OPEN"},
]


def write_example(root: Path) -> Example:
    """Write it: stray spaces, a number and no answer at all among the golds."""
    rows = [{"image_name": f"synpic{row['qid'] % 3}.jpg", "image_organ": "CHEST", **row} for row in ROWS]
    pictures = {f"synpic{k}.jpg": Image.new("RGB", (40 + k, 30), (60 * k, 90, 120)) for k in range(3)}
    write_vqa_rad(root, rows, pictures)
    return Example(
        items={
            "1": ("closed", "Yes"),
            "2": ("open", "left lung"),
            "3": ("open", "2"),
            "4": ("closed", "left"),
            "5": ("open", "None"),
            "8": ("closed", "yes"),
            "9": ("closed", "no"),
            "11": ("open", "No"),
        },
        train=2,
        lost=1,
    )
