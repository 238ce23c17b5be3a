"""What is asked and answered: drawn pictures with made-up queries, diagnoses and boxes."""

from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from umed.bench.checkpoint import PATCH, made_up_words
from umed.bench.shapes import QUERY_WORDS, Shape
from umed.boxes import Box
from umed.records import SYNTHETIC, Record, RecordSet

SOURCE = f"{SYNTHETIC}bench"
FINDINGS = ("lesion", "nodule")
WORDS = tuple(islice(made_up_words(), 400))
FILE = "{:03d}.png"


def draw_pictures(shape: Shape, folder: Path, count: int) -> None:
    """So many pictures of the size that gives the shape's image tokens."""
    rows, columns = shape.grid
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        size = columns * 2 * PATCH, rows * 2 * PATCH
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / FILE.format(number))


def make_records(shape: Shape, folder: Path, count: int) -> RecordSet:
    """Records of the drawn pictures; query and diagnosis are a pure function of the record's number."""
    rows, columns = shape.grid
    records = []
    for number in range(count):
        rng = Random(number)
        query = "".join(rng.choices(WORDS, k=QUERY_WORDS))
        diagnosis = "".join(rng.choices(WORDS, k=shape.answer_tokens - 1))  # and the token that ends it
        record = Record(
            id=f"{SOURCE}/{number:03d}",
            source=SOURCE,
            image=FILE.format(number),
            width=columns * 2 * PATCH,
            height=rows * 2 * PATCH,
            boxes=(Box(0.2, 0.3, 0.6, 0.7),),
            category=FINDINGS[number % len(FINDINGS)],
            modality="CT",
            group=str(number),
            split="train",
            query=query,
            diagnosis=diagnosis,
        )
        records.append(record)
    return RecordSet(records, {SOURCE: folder})
