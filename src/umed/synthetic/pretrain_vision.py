"""Dense pretraining of the embedded model's vision tower: categories and position of each part of an image token.

It gives the tower the features that towers of real models have; the language model is not trained.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import get_cosine_schedule_with_warmup

from umed.boxes import Box, coverage
from umed.chat import ImageView, Processor
from umed.pictures import picture_of
from umed.records import Record

CELLS = 2  # cells along each side of an image token
BANDS = 10  # bands of the picture, across and down


class Patches(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Each picture once: its pixels, its grid, its `patch_targets` and its `patch_places`.

    What was read is kept, pixels in 16 bits: reading a picture takes as long as half a step on it.
    """

    def __init__(self, records: Sequence[Record], roots: Mapping[str, Path], processor: Processor) -> None:
        by_picture: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for r in records:
            by_picture[r.source, r.image].append(r)
        self.pictures, self.roots, self.processor = list(by_picture.values()), roots, processor
        self.categories = sorted({r.category for r in records if r.boxes})
        self.kept: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if index not in self.kept:
            self.kept[index] = self._read(index)
        pixels, grid, target, place = self.kept[index]
        return pixels.float(), grid, target, place

    def _read(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        records = self.pictures[index]
        prompt = self.processor.prompt(picture_of(records[0], self.roots), records[0])
        boxes = {r.category: r.boxes for r in records}
        target = patch_targets(prompt.view, [boxes.get(c, ()) for c in self.categories])
        return prompt.inputs["pixel_values"].half(), prompt.inputs["image_grid_thw"], target, patch_places(prompt.view)


def patch_targets(view: ImageView, boxes: Sequence[Sequence[Box]], cells: int = CELLS) -> Tensor:
    """Share of each of the `cells` x `cells` parts of each image token inside the boxes of each category.

    Returns:
        (rows * columns, cells * cells * len(boxes)) float32 in [0, 1], tokens in raster order.
    """
    [grid] = view.grids
    xs = [k / (grid.columns * cells) for k in range(grid.columns * cells + 1)]
    ys = [k / (grid.rows * cells) for k in range(grid.rows * cells + 1)]
    share = torch.stack([torch.from_numpy(coverage(b, xs, ys)).float() for b in boxes], -1)
    share = share.view(grid.rows, cells, grid.columns, cells, len(boxes)).transpose(1, 2)
    return share.reshape(grid.rows * grid.columns, -1)


def patch_places(view: ImageView, bands: int = BANDS) -> Tensor:
    """Share of each of `bands` vertical and `bands` horizontal bands of the picture that each image token covers.

    Returns:
        (rows * columns, 2 * bands) float32 in [0, 1], tokens in raster order; vertical bands first.
    """

    def overlap(parts: int) -> Tensor:
        edges = torch.arange(bands + 1) / bands
        low, high = torch.arange(parts)[:, None] / parts, torch.arange(1, parts + 1)[:, None] / parts
        return (torch.minimum(edges[1:], high) - torch.maximum(edges[:-1], low)).clamp(min=0) * bands

    [grid] = view.grids
    across = overlap(grid.columns).repeat(grid.rows, 1)
    return torch.cat([across, overlap(grid.rows).repeat_interleave(grid.columns, 0)], 1)


def pretrain_vision(
    model: Any, patches: Patches, *, steps: int, lr: float, batch_size: int, seed: int, workers: int = 0
) -> float:
    """Train `model.model.visual` with a temporary linear layer on its image tokens; the mean of the last 50 losses.

    The loss is the cross-entropy of every cell and category against its share, plus 0.1 times that of the positions.
    """
    torch.manual_seed(seed)
    tower = model.model.visual.train()
    pixels, grid, target, place = patches[0]
    with torch.no_grad():
        width = tower(pixels, grid_thw=grid).pooler_output.shape[-1]
    head = nn.Linear(width, target.shape[-1] + place.shape[-1])
    nn.init.constant_(head.bias, -3.0)  # most cells are empty
    trained = [*tower.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.01)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 30, steps)
    losses: list[float] = []
    entropy = nn.functional.binary_cross_entropy_with_logits
    with tqdm(total=steps, desc="vision tower", unit="batch", leave=False, disable=None) as bar:
        while len(losses) < steps:
            for pixels, grid, target, place in DataLoader(
                patches, batch_size, shuffle=True, drop_last=True, num_workers=workers, collate_fn=_concatenate
            ):
                logits = head(tower(pixels, grid_thw=grid).pooler_output)
                categories, positions = logits.split([target.shape[-1], place.shape[-1]], -1)
                loss = entropy(categories, target) + 0.1 * entropy(positions, place)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                bar.update()
                bar.set_postfix(loss=f"{losses[-1]:.4f}")
                if len(losses) == steps:
                    break
    return sum(losses[-50:]) / len(losses[-50:])


def _concatenate(items: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(part) for part in zip(*items, strict=True))
