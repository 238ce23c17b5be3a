"""What the model saw, and the region in its words."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from umed.boxes import Box
from umed.chat import Grid, ImageView, say_region, tidy, without_region

UNIT = st.floats(0, 1, allow_subnormal=False)
GRID = st.integers(1, 40)


def view(rows: int, columns: int) -> ImageView:
    return ImageView(640, 480, columns * 28, rows * 28, (Grid(rows, columns),))


@given(GRID, GRID)
def test_the_whole_image_weighs_every_token_once(rows: int, columns: int) -> None:
    weights = view(rows, columns).patch_weights([Box(0, 0, 1, 1)])
    assert weights.dtype == torch.float32 and weights.shape == (rows * columns,)
    torch.testing.assert_close(weights, torch.ones(rows * columns))


@given(GRID, GRID)
def test_the_cells_tile_the_image(rows: int, columns: int) -> None:
    """A box over one cell weighs that token alone, in raster order."""
    r, c = rows // 2, columns // 3
    weights = view(rows, columns).patch_weights([Box(c / columns, r / rows, (c + 1) / columns, (r + 1) / rows)])
    expected = torch.zeros(rows * columns)
    expected[r * columns + c] = 1
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=0)


@given(GRID, GRID, UNIT, UNIT)
def test_halves_add_up(rows: int, columns: int, x: float, y: float) -> None:
    """Four boxes that share the image share every cell."""
    assume(1e-3 < x < 1 - 1e-3 and 1e-3 < y < 1 - 1e-3)
    parts = [Box(0, 0, x, y), Box(x, 0, 1, y), Box(0, y, x, 1), Box(x, y, 1, 1)]
    grid = view(rows, columns)
    together = torch.stack([grid.patch_weights([b]) for b in parts]).sum(0)
    torch.testing.assert_close(together, torch.ones(rows * columns), atol=1e-5, rtol=0)
    torch.testing.assert_close(grid.patch_weights(parts), torch.ones(rows * columns), atol=1e-5, rtol=0)


def test_a_lesion_smaller_than_a_token_counts_in_proportion() -> None:
    stone = Box(100 / 391, 100 / 320, 111 / 391, 109 / 320)
    weights = view(11, 14).patch_weights([stone])
    assert float(weights.sum()) == pytest.approx(stone.area * 154, rel=1e-4)
    assert 0 < float(weights.max()) < 1


def test_overlapping_boxes_count_once_and_no_box_is_zero() -> None:
    box = Box(0.1, 0.1, 0.6, 0.6)
    torch.testing.assert_close(view(5, 5).patch_weights([box, box]), view(5, 5).patch_weights([box]))
    assert (view(5, 5).patch_weights([]) == 0).all()


def test_the_region_is_said_where_it_stands() -> None:
    assert say_region("A stone at <region>, small.", "[1,2]") == "A stone at [1,2], small."
    assert say_region("No abnormality.", "[1,2]") == "No abnormality."
    assert without_region("A stone at <region>, small.") == "A stone at, small."
    assert tidy("  a   stone , seen \n here . ") == "a stone, seen here."
    assert without_region("It is medium: <region>, in the upper part.") == "It is medium, in the upper part."
    assert without_region("Two regions: <region>.") == "Two regions." and tidy("well ...") == "well..."


def test_the_heat_of_tiles_lies_where_they_are() -> None:
    tiles = ImageView(112, 112, 112, 112, (*Grid.tiles(2, 2, side=2), Grid(2, 2, scale=1)))
    weights = tiles.patch_weights([Box(0.5, 0, 1, 0.5)]).numpy()
    heat = tiles.heat(weights)
    assert heat[:32, 32:].min() > 0 and np.delete(heat, np.s_[:32], 0).max() == 0
    assert heat.sum() == pytest.approx(weights.sum())
