"""Where image tokens lie in the picture, and how exactly boxes are written."""

import numpy as np
import torch

from umed.boxes import Box
from umed.chat import ImageView, Prompt
from umed.models.batch import picture_inputs
from umed.models.features import compute_features
from umed.synthetic.parity.tiny_model import SIZES, TinyModel


def patch_map(tiny: TinyModel) -> float:
    """Share of pixels that do not lie in exactly one cell of each scale; a hidden border may lie in none."""
    if tiny.backbone.no_attention:
        return 0.0
    return max(uncovered(p.view, tiny.backbone.hidden_border) for p in tiny.prompts)


def uncovered(view: ImageView, border: bool = False) -> float:
    """The share for one view; with `border` the outermost token of the picture may be in no cell, never in two."""
    x, y = (np.arange(view.width) + 0.5) / view.width, (np.arange(view.height) + 0.5) / view.height
    worst = 0.0
    for scale in {g.scale for g in view.grids}:
        grids = [g for g in view.grids if g.scale == scale]
        count = np.zeros((view.height, view.width), dtype=int)
        for xs, ys in (g.lines for g in grids):
            in_x = (np.searchsorted(xs, x, "right") > 0) & (x < xs[-1])
            in_y = (np.searchsorted(ys, y, "right") > 0) & (y < ys[-1])
            count += np.outer(in_y, in_x)
        wide, high = ((g[1] - g[0]) * border for g in grids[0].lines)
        inner = np.outer((high < y) & (y < 1 - high), (wide < x) & (x < 1 - wide))
        worst = max(worst, float(((count > 1) | ((count == 0) & (inner | (not border)))).mean()))
    return worst


def token_places(tiny: TinyModel) -> float:
    """Share of regions whose brightening changes most a token that the patch map does not give them to.

    In each scale, the token whose features change most must cover at least half as much of the region as the best one.
    """
    if tiny.backbone.no_attention:
        return 0.0
    missed, regions = 0, 0
    for number, (width, height) in enumerate(((112, 112), *SIZES)):
        dark = np.full((height, width, 3), 90, dtype=np.uint8)
        for x, y in ((0.13, 0.13), (0.62, 0.38), (0.87, 0.87)):
            box = Box(x - 0.12, y - 0.12, x + 0.12, y + 0.12)
            bright = dark.copy()
            x0, y0, x1, y1 = (round(v) for v in box.to_xyxy(width, height))
            bright[y0:y1, x0:x1] = 255
            one, two = (tiny.prompt(number, width, height, pixels) for pixels in (dark, bright))
            change = (_features(tiny, one) - _features(tiny, two)).norm(dim=-1)
            weights = one.view.patch_weights([box])
            for scale in {g.scale for g in one.view.grids}:
                in_scale = torch.cat([torch.full((g.tokens,), g.scale == scale) for g in one.view.grids])
                most = int(torch.where(in_scale, change, -1.0).argmax())
                missed += bool(weights[most] < 0.5 * torch.where(in_scale, weights, 0.0).max())
                regions += 1
    return missed / regions


def _features(tiny: TinyModel, prompt: Prompt) -> torch.Tensor:
    """Features of the image tokens, or of the patches where those are queries, (P, H)."""
    if prompt.view.queries:
        with torch.no_grad():
            return tiny.policy.core.model.get_image_features(**picture_inputs(prompt.inputs)).last_hidden_state[0]
    features = compute_features(tiny.policy.core.model, picture_inputs(prompt.inputs)).pooler_output
    return torch.cat(list(features)) if isinstance(features, list | tuple) else features.flatten(0, -2)


def codec(tiny: TinyModel) -> float:
    """Largest error of a box written and read back, in quanta of the convention; also at borders and for thin boxes."""
    rng, worst = np.random.default_rng(0), 0.0
    pairs = rng.random((200, 2, 2))
    corners = [(0, 0, 1, 1), (0.999, 0.999, 1, 1), (0, 0, 1e-4, 1e-4)]
    corners += [(*p.min(0), *p.max(0)) for p in pairs]
    for view in (p.view for p in tiny.prompts):
        x0, y0, x1, y1 = view.frame
        qx, qy = tiny.processor.codec.quantum(*tiny.processor.units(view))
        step = np.array([qx * (x1 - x0), qy * (y1 - y0)] * 2)
        for four in corners:
            text = tiny.processor.write_boxes([Box(*map(float, four))], "stone", view)
            boxes = tiny.processor.read_boxes(f"A stone at {text}.", view)
            if boxes is None or len(boxes) != 1:
                return float("inf")
            [box] = boxes
            worst = max(worst, float((np.abs(np.array([box.x0, box.y0, box.x1, box.y1]) - four) / step).max()))
    return worst
