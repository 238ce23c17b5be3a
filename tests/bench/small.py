"""A shape small enough for tests."""

from umed.bench.shapes import Shape

SMALL = Shape(
    image_tokens=12, queries=2, candidates=3, answer_tokens=5, hidden=64, layers=2, intermediate=64, vocabulary=1024,
    tower_hidden=32, tower_layers=4, tower_intermediate=32, frozen=("visual",),
)  # fmt: skip
