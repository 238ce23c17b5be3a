"""SYNTHETIC pictures in the manner of MedMNIST as records, to pretrain the embedded model."""

from pathlib import Path

import numpy as np
from PIL import Image

from umed.boxes import Box
from umed.evaluation.rules.labels import LABELS
from umed.records import Record
from umed.synthetic.pictures.labels import DRAWERS

SOURCE = "medmnist_"  # begins the names of their sources
MODALITIES = {"derma": "dermatoscopy", "breast": "ultrasound", "pneumonia": "X-ray"}


def draw_label_pictures(folder: Path, count: int, seed: int) -> tuple[list[Record], dict[str, Path]]:
    """Write `count` pictures of each set, the labels taking turns; their records, all to train on, and folders.

    The box of a record is the whole picture: it shows nothing else.
    """
    records, roots = [], {}
    for number, (name, draw) in enumerate(DRAWERS.items()):
        source = f"{SOURCE}{name}"
        labels, roots[source] = LABELS[source], folder / source
        roots[source].mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, number])
        for k in range(count):
            file, label = f"{k:05d}.png", k % len(labels)
            Image.fromarray(draw(rng, label).astype(np.uint8)).save(roots[source] / file)
            records.append(
                Record(
                    id=f"{source}/{file}",
                    source=source,
                    image=file,
                    width=28,
                    height=28,
                    boxes=(Box(0.0, 0.0, 1.0, 1.0),),
                    category=labels[label],
                    modality=MODALITIES[name],
                    group=file,
                    split="train",
                )
            )
    return records, roots
