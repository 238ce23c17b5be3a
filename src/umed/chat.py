"""What a query and its answer look like to a model: `Prompt`, `ImageView`, and the `Processor` every family gives.

A `Processor` is light and picklable and holds no weights: the data side calls `prompt`, the model side `collate`, so
the two never meet.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from umed.boxes import Box, coverage
from umed.records import Record

REGION = "<region>"


@dataclass(frozen=True, slots=True)
class ImageView:
    """The size and the token grid that the model really saw of an image of `width` x `height` pixels."""

    width: int
    height: int
    seen_width: int
    seen_height: int
    rows: int
    columns: int

    def patch_weights(self, boxes: Sequence[Box]) -> Tensor:
        """`PatchMap`: share of each image token's cell inside the boxes' union, raster order.

        Returns:
            (rows * columns,) float32 in [0, 1]: w_j of equation (12).
        """
        xs = [c / self.columns for c in range(self.columns + 1)]
        ys = [r / self.rows for r in range(self.rows + 1)]
        return torch.from_numpy(coverage(boxes, xs, ys)).float().flatten()


@dataclass(slots=True)
class Prompt:
    """One encoded query: the model's own tensors for one image and one text, and the gold answer if there is one."""

    record: Record
    view: ImageView
    inputs: dict[str, Tensor]
    answer: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    gold: str = ""
    others: tuple[str, ...] = ()

    @property
    def region(self) -> Tensor:
        """w_j of the gold boxes, (P,): never of the said boxes (reading R3)."""
        return self.view.patch_weights(self.record.boxes)


class Processor(Protocol):
    """Prompt, image view, codec and collation of one model family; no weights."""

    eos_ids: tuple[int, ...]
    pad_id: int
    suppressed_ids: tuple[int, ...]

    def prompt(self, image: Image.Image, record: Record, others: tuple[str, ...] = ()) -> Prompt: ...
    def collate(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def pieces(self, ids: Sequence[int]) -> list[str]: ...
    def write_boxes(self, boxes: Sequence[Box], label: str, view: ImageView) -> str: ...
    def read_boxes(self, text: str, view: ImageView) -> list[Box] | None: ...
    def box_spans(self, text: str) -> list[tuple[int, int]]: ...
    def plain(self, text: str) -> str: ...
    def save(self, folder: str) -> None: ...


def say_region(diagnosis: str, region: str) -> str:
    """The diagnosis with the region in a model's own words; a text without the marker names no region."""
    return diagnosis.replace(REGION, region)


def without_region(diagnosis: str) -> str:
    """The diagnosis as plain language, for judges and people."""
    return tidy(diagnosis.replace(REGION, " "))


def tidy(text: str) -> str:
    """Single spaces, and none before punctuation."""
    return re.sub(r"\s+([.,;:!?])", r"\1", re.sub(r"\s+", " ", text)).strip()
