"""A query and its answer as a model takes them: `Prompt`, `ImageView`, and the `Processor` that every family has.

A `Processor` is light and picklable and holds no weights: the data side calls `prompt`, the model side `collate`, so
the two never meet.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from umed.boxes import Box, coverage
from umed.records import Record

REGION = "<region>"


@dataclass(frozen=True, slots=True)
class Grid:
    """Image tokens in raster order over a rectangle of the image.

    Args:
        x0, y0, x1, y1: the rectangle in fractions of the original image; beyond [0, 1] where the model saw padding.
        newline: each row ends in one more token, which covers no part of the image.
        scale: the tiles of one magnification share a number; a thumbnail has another.
    """

    rows: int
    columns: int
    x0: float = 0.0
    y0: float = 0.0
    x1: float = 1.0
    y1: float = 1.0
    newline: bool = False
    scale: int = 0

    @classmethod
    def tiles(cls, rows: int, columns: int, side: int, share: float = 1.0) -> tuple["Grid", ...]:
        """Grids of `side` x `side` tokens for rows x columns equal tiles of the image, in raster order.

        Args:
            share: of a tile's width and height that its tokens cover, from its left and top.
        """
        return tuple(
            cls(side, side, c / columns, r / rows, (c + share) / columns, (r + share) / rows)
            for r in range(rows)
            for c in range(columns)
        )

    @property
    def tokens(self) -> int:
        return self.rows * (self.columns + self.newline)

    @property
    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Vertical and horizontal cell borders, fractions of the original image."""
        xs = self.x0 + (self.x1 - self.x0) * np.arange(self.columns + 1) / self.columns
        return xs, self.y0 + (self.y1 - self.y0) * np.arange(self.rows + 1) / self.rows

    def cells(self, tokens_P: np.ndarray) -> np.ndarray:
        """Values of the tokens as (rows, columns), without the newline tokens."""
        return tokens_P.reshape(self.rows, -1)[:, : self.columns]


@dataclass(frozen=True, slots=True)
class ImageView:
    """The size and the token grids in which the model saw an image of `width` x `height` pixels.

    Args:
        grids: in the order of the image tokens.
        frame: x0, y0, x1, y1 of the rectangle that the family's boxes refer to, in fractions of the original image;
            wider than the image where it was padded.
        queries: image tokens of the language model that are no part of the image: each attends to the patches of all
            grids, and a map over patches is composed of both attentions; 0 = the patches are the image tokens.
    """

    width: int
    height: int
    seen_width: int
    seen_height: int
    grids: tuple[Grid, ...]
    frame: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    queries: int = 0

    @property
    def tokens(self) -> int:
        """The number of image tokens in the prompt."""
        return self.queries or self.patches

    @property
    def patches(self) -> int:
        """P, the number of patches, which are the image tokens where there are no queries."""
        return sum(g.tokens for g in self.grids)

    def patch_weights(self, boxes: Sequence[Box]) -> Tensor:
        """`PatchMap`: share of each image token's cell inside the boxes' union, in the order of the tokens.

        Returns:
            (P,) float32 in [0, 1]: w_j of equation (12); 0 for a newline token.
        """
        shares = [np.pad(coverage(boxes, *g.lines), ((0, 0), (0, g.newline))).ravel() for g in self.grids]
        return torch.from_numpy(np.concatenate([np.zeros(0), *shares])).float()

    def heat(self, weights_P: np.ndarray) -> np.ndarray:
        """Values of image tokens over the original image: one grid as it is, several summed on 64 x 64 cells.

        Args:
            weights_P: (P,) or longer (padding is cut).
        """
        parts = np.split(weights_P[: self.patches], np.cumsum([g.tokens for g in self.grids])[:-1])
        if len(self.grids) == 1 and self.grids[0] == Grid(self.grids[0].rows, self.grids[0].columns):
            return self.grids[0].cells(parts[0])
        fine = np.linspace(0, 1, 65)
        total = np.zeros((64, 64))
        for grid, part in zip(self.grids, parts, strict=True):
            across, down = (_overlap(fine, lines) for lines in grid.lines)
            total += down @ grid.cells(part) @ across.T
        return total


def _overlap(fine: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Share of each cell between `lines` that lies in each fine cell, (fine, cells)."""
    low, high = np.maximum(fine[:-1, None], lines[:-1]), np.minimum(fine[1:, None], lines[1:])
    return np.clip(high - low, 0, None) / np.diff(lines)


@dataclass(slots=True)
class Prompt:
    """One encoded query: the model's input tensors for one image and one text, and the gold answer if there is one.

    Args:
        answer: tokens of the gold answer with its end; empty = none.
        gold: the gold answer as plain text.
        others: the other categories of the record's source, for judges.
        features: of the picture, with the key of the tower that computed them, see models/picture_encoder.py.
    """

    record: Record
    view: ImageView
    inputs: dict[str, Tensor]
    answer: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    gold: str = ""
    others: tuple[str, ...] = ()
    features: Any = None

    @property
    def region(self) -> Tensor:
        """w_j of the gold boxes, (P,), never of predicted ones (reading R3)."""
        return self.view.patch_weights(self.record.boxes)


class Processor(Protocol):
    """Prompt, image view, codec and collation of one model family; no weights."""

    eos_ids: tuple[int, ...]
    pad_id: int
    image_id: int
    suppressed_ids: tuple[int, ...]

    def prompt(self, image: Image.Image, record: Record, others: tuple[str, ...] = ()) -> Prompt: ...
    def collate(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...
    def pieces(self, ids: Sequence[int]) -> list[str]: ...
    def write_boxes(self, boxes: Sequence[Box], label: str, view: ImageView) -> str: ...
    def read_boxes(self, text: str, view: ImageView) -> list[Box] | None: ...
    def has_box_syntax(self, text: str) -> bool: ...
    def box_spans(self, text: str) -> list[tuple[int, int]]: ...
    def plain(self, text: str) -> str: ...
    def save(self, folder: str) -> None: ...


def say_region(diagnosis: str, region: str) -> str:
    """The diagnosis with the region in a family's words; one without the marker names no region."""
    return diagnosis.replace(REGION, region)


def without_region(diagnosis: str) -> str:
    """The diagnosis as plain language, for judges and people."""
    return tidy(diagnosis.replace(REGION, " "))


def tidy(text: str) -> str:
    """Single spaces, none before punctuation, and of several punctuation marks that a gap left the last one."""
    closed = re.sub(r"\s+([.,;:!?])", r"\1", re.sub(r"\s+", " ", text))
    return re.sub(r"[,;:]+(?=[.,;:!?])", "", closed).strip()
