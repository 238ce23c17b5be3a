"""The drawing surface of the synthetic pictures: anatomy coordinates, soft shapes, clutter and noise."""

import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Array = np.ndarray
Value = float | Array | tuple[float, ...]  # gray level, color, or (H, W) texture
Generator = np.random.Generator


@dataclass(frozen=True)
class Lesion:
    """One drawn abnormality: its category and the pixels it covers, an (H, W) bool mask."""

    category: str
    mask: Array

    @property
    def bbox(self) -> list[int]:
        """COCO x, y, width, height, exactly tight on the mask."""
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return [int(v) for v in (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)]


@dataclass
class Canvas:
    """Gray levels or colors on a grid in anatomy coordinates: both axes run from -1 to 1 at zoom 1.

    A shape is an (H, W) array `alpha` in [0, 1]; half-way along its soft border lies the edge of its mask.
    """

    rng: Generator
    width: int
    height: int
    center: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    channels: int = 1
    level: Array = field(init=False)

    def __post_init__(self) -> None:
        x = (2 * np.arange(self.width, dtype=np.float32) + 1) / self.width - 1
        y = (2 * np.arange(self.height, dtype=np.float32) + 1) / self.height - 1
        self.x = (x / self.zoom + self.center[0])[None, :]
        self.y = (y / self.zoom + self.center[1])[:, None]
        self.pixel = 2 / (min(self.width, self.height) * self.zoom)
        self.level = np.zeros((self.height, self.width, self.channels), np.float32)

    def ellipse(self, x: float, y: float, a: float, b: float, turn: float = 0.0, soft: float = 1.5) -> Array:
        """Center, half axes, angle in radians; `soft` is the width of the border in pixels."""
        dx, dy = self.x - x, self.y - y
        c, s = math.cos(turn), math.sin(turn)
        u, v = (dx * c + dy * s) / a, (dy * c - dx * s) / b
        return np.clip((1 - np.sqrt(u * u + v * v)) * (min(a, b) / (soft * self.pixel)) + 0.5, 0, 1)

    def blob(self, x: float, y: float, a: float, b: float, lobes: int = 3, soft: float = 2.0) -> Array:
        """A lobulated shape: an ellipse joined with `lobes` smaller ones around it."""
        turn = self.rng.uniform(0, math.pi)
        alpha = self.ellipse(x, y, 0.85 * a, 0.85 * b, turn, soft)
        for angle in self.rng.uniform(0, 2 * math.pi, lobes):
            at = x + 0.45 * a * math.cos(angle), y + 0.45 * b * math.sin(angle)
            alpha = np.maximum(alpha, self.ellipse(*at, 0.55 * a, 0.55 * b, turn, soft))
        return alpha

    def below(self, y: Array | float, soft: float = 2.0) -> Array:
        """The part of the picture under a curve y(x)."""
        return np.clip((self.y - y) / (soft * self.pixel) + 0.5, 0, 1) + 0 * self.x

    def clouds(self, cells: int) -> Array:
        """Smooth noise of mean 0 and deviation about 0.7, with `cells` bumps across."""
        coarse = self.rng.standard_normal((cells, cells)).astype(np.float32)
        return np.asarray(Image.fromarray(coarse).resize((self.width, self.height), Image.Resampling.BICUBIC))

    def lines(self, paths: list[list[tuple[float, float]]], width: float, blur: float = 0.7) -> Array:
        """Polylines through points in anatomy coordinates; `width` in these coordinates, `blur` in pixels."""
        overlay = Image.new("L", (self.width, self.height))
        draw = ImageDraw.Draw(overlay)
        for path in paths:
            draw.line([self.at(*p) for p in path], fill=255, width=max(1, round(width / self.pixel)), joint="curve")
        return np.asarray(overlay.filter(ImageFilter.GaussianBlur(blur)), np.float32) / 255

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Anatomy coordinates as pixels."""
        across, down = (x - self.center[0]) * self.zoom + 1, (y - self.center[1]) * self.zoom + 1
        return across * self.width / 2 - 0.5, down * self.height / 2 - 0.5

    def paint(self, alpha: Array, value: Value) -> None:
        """Cover with a gray level, a color or an (H, W) texture."""
        value = np.asarray(value, np.float32)
        self.level += alpha[..., None] * ((value[..., None] if value.ndim == 2 else value) - self.level)

    def add(self, alpha: Array, amount: Value) -> None:
        """Brighten or darken."""
        self.level += alpha[..., None] * np.asarray(amount, np.float32)

    def label_block(self) -> None:
        """Text-like rows in a corner: clutter."""
        r, scale = self.rng, self.rng.integers(1, 3)
        block = r.random((int(r.integers(3, 6)), int(r.integers(6, 16)))) < 0.55
        block[1::2] &= r.random() < 0.4
        block = np.kron(block, np.ones((scale, scale), bool))
        h, w = block.shape
        top = int(r.choice([2, self.height - h - 2]))
        left = int(r.choice([2, self.width - w - 2]))
        self.level[top : top + h, left : left + w][block] = r.uniform(170, 250)

    def tubes(self, chance: float) -> None:
        """A catheter or cable and ECG dots: clutter."""
        r = self.rng
        if r.random() < chance:
            xs = np.linspace(r.uniform(-0.9, 0.9), r.uniform(-0.5, 0.5), 8) + 0.12 * r.standard_normal() * np.sin(
                np.arange(8)
            )
            ys = np.linspace(-1.1, r.uniform(-0.2, 1.1), 8)
            self.add(self.lines([[*zip(xs.tolist(), ys.tolist(), strict=True)]], 0.02), r.uniform(25, 70))
        if r.random() < chance:
            for x, y in r.uniform(-0.8, 0.8, (int(r.integers(1, 4)), 2)):
                self.add(self.ellipse(x, y, 0.03, 0.03, soft=1.0), r.uniform(40, 100))

    def finish(self, noise: float) -> Image.Image:
        """Add noise and round to 8 bits."""
        grain = self.rng.standard_normal((self.height, self.width, 1), dtype=np.float32)
        pixels = np.clip(self.level + noise * grain, 0, 255).astype(np.uint8)
        return Image.fromarray(pixels[..., 0] if self.channels == 1 else pixels)


Drawing = tuple[Image.Image, list[Lesion]]


def choose_size(rng: Generator) -> tuple[int, int]:
    """Width and height, 96 to 168 pixels, aspect between 3:4 and 4:3."""
    long, aspect = int(rng.integers(128, 169)), rng.uniform(0.75, 1)
    short = max(96, math.ceil(long * aspect))
    return (long, short) if rng.random() < 0.5 else (short, long)


def choose_side(rng: Generator) -> int:
    return 1 if rng.random() < 0.5 else -1
