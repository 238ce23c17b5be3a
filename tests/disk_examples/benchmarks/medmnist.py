"""A SYNTHETIC MedMNIST of a few pictures a set, in the published format; its checksums are its own."""

from pathlib import Path

import numpy as np

from umed.evaluation.benchmarks.base import Example
from umed.evaluation.rules.labels import LABELS
from umed.synthetic.benchmark_formats import write_medmnist


def write_example(root: Path) -> Example:
    """Write the three sets: color and gray, the last class of each among the labels."""
    rng = np.random.default_rng(0)
    items: dict[str, tuple[str, str]] = {}
    checksums = {}
    for name, channels in {"derma": (3,), "breast": (), "pneumonia": ()}.items():
        classes = LABELS[f"medmnist_{name}"]
        parts = {}
        for part, count in {"train": 4, "val": 1, "test": 3}.items():
            labels = np.arange(len(classes) - count, len(classes)) % len(classes)
            parts[part] = rng.integers(0, 256, (count, 28, 28, *channels)), labels
        checksums[name] = write_medmnist(root / f"{name}mnist.npz", parts)
        items |= {f"{name}:test/{k}": ("label", classes[label]) for k, label in enumerate(parts["test"][1])}
    return Example(items=items, train=12, options=(("checksums", checksums),))
