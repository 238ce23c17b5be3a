"""The dense pretraining of the embedded model's tower."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from umed.boxes import Box
from umed.chat import Grid, ImageView
from umed.models.family import FamilyProcessor
from umed.models.policy import Policy
from umed.records import Record
from umed.synthetic.pretrain_vision import Patches, patch_places, patch_targets, pretrain_vision


def test_targets_are_the_boxes_drawn_on_a_fine_grid() -> None:
    view = ImageView(200, 100, 96, 64, (Grid(2, 3),))
    boxes = [[Box(0.0, 0.0, 1 / 3, 0.5)], [Box(0.5, 0.25, 0.75, 1.0), Box(0.5, 0.0, 0.75, 0.25)], []]
    target = patch_targets(view, boxes, cells=4)
    assert target.shape == (6, 48)
    picture = target.view(2, 3, 4, 4, 3).permute(4, 0, 2, 1, 3).reshape(3, 8, 12)
    expected = np.zeros((3, 8, 12))
    expected[0, :4, :4] = 1
    expected[1, :, 6:9] = 1
    np.testing.assert_allclose(picture, expected, atol=1e-6)


def test_places_are_the_bands_that_a_token_reaches_over() -> None:
    place = patch_places(ImageView(200, 100, 96, 64, (Grid(2, 4),)), bands=10)
    assert place.shape == (8, 20)
    np.testing.assert_allclose(place[5, :10], [0, 0, 0.5, 1, 1, 0, 0, 0, 0, 0], atol=1e-6)  # .25 to .5 across
    np.testing.assert_allclose(place[5, 10:], [0] * 5 + [1] * 5, atol=1e-6)  # the lower half
    np.testing.assert_allclose(place.sum(0), [2.0] * 10 + [4.0] * 10, atol=1e-5)  # nothing of the picture is left out


def test_the_tower_learns_where_the_bright_square_is(
    policy: Callable[..., Policy], processor: FamilyProcessor, tmp_path: Path
) -> None:
    records, rng = [], np.random.default_rng(0)
    for i in range(8):
        x, y = rng.integers(0, 64, 2)
        pixels = np.zeros((128, 128, 3), np.uint8)
        pixels[y : y + 64, x : x + 64] = 255
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        box = (Box(x / 128, y / 128, (x + 64) / 128, (y + 64) / 128),)
        records.append(Record(f"s/{i}", "s", f"{i}.png", 128, 128, box, "square", "CT", f"g{i}"))
    records.append(replace(records[0], id="s/other", category="corner"))  # one picture, two records
    patches = Patches(records, {"s": tmp_path}, processor)
    assert len(patches) == 8 and patches.categories == ["corner", "square"]
    first = patches[0]
    (tmp_path / "0.png").unlink()  # read once
    assert all(torch.equal(a, b) for a, b in zip(first, patches[0], strict=True))
    model = policy().core
    before = {n: p.clone() for n, p in model.named_parameters()}
    losses = [pretrain_vision(model, patches, steps=n, lr=1e-2, batch_size=4, seed=0) for n in (1, 20)]
    assert losses[1] < 0.7 * losses[0]
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved and all(n.startswith("model.visual.") for n in moved)
