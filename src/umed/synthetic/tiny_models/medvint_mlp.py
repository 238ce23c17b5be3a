"""A tiny random MedVInT-TD of the MLP variant: one image token."""

from collections.abc import Iterable
from pathlib import Path

from umed.synthetic.tiny_models import medvint


def write_tiny(folder: str | Path, corpus: Iterable[str]) -> None:
    medvint.write_tiny(folder, corpus, connector="mean")
