"""The sizes of work that are measured, and the laws that time and memory should follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

QUERY_WORDS = 16  # one token each
TRAINED = 4  # copies of a trained weight: itself, its gradient, Adam's two moments
PATCHES = 4  # of a picture, that make one image token


@dataclass(frozen=True, slots=True)
class Shape:
    """A random model in the shape of Qwen2.5-VL, and the work of one step with it.

    Args:
        hidden, layers, heads, kv_heads, intermediate, vocabulary: of the language model, whose head is tied.
        tower_hidden, tower_layers, tower_heads, tower_intermediate: of the vision tower.
        queries, candidates: answers a step are their product; tuning takes as many records.
        answer_tokens: of every answer: the tokens that end one are forbidden.
        frozen: names of modules that are not trained.
        adapter: arguments of peft's LoraConfig, None = every weight that is not frozen is trained.
        gpu: needs one.
        steps: measured in each turn.
    """

    image_tokens: int
    queries: int
    candidates: int
    answer_tokens: int
    hidden: int = 192
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    intermediate: int = 512
    vocabulary: int = 16384
    tower_hidden: int = 64
    tower_layers: int = 4
    tower_heads: int = 4
    tower_intermediate: int = 192
    frozen: tuple[str, ...] = ()
    adapter: Mapping[str, Any] | None = None
    dtype: str = "float32"
    gpu: bool = False
    steps: int = 10

    @property
    def answers(self) -> int:
        return self.queries * self.candidates

    @property
    def tokens(self) -> int:
        """Answer tokens a step."""
        return self.answers * self.answer_tokens

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the image tokens, as near to a square as their number allows."""
        rows = max(r for r in range(1, int(self.image_tokens**0.5) + 1) if self.image_tokens % r == 0)
        return rows, self.image_tokens // rows


LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}

SHAPES: dict[str, Shape] = {
    "mid_cpu": Shape(image_tokens=64, queries=2, candidates=4, answer_tokens=32),
    "long_cpu": Shape(image_tokens=256, queries=2, candidates=8, answer_tokens=64, frozen=("visual",), steps=5),
    "gpu_2b": Shape(
        image_tokens=1000, queries=2, candidates=8, answer_tokens=128,
        hidden=1536, layers=28, heads=12, kv_heads=2, intermediate=8960, vocabulary=151936,
        tower_hidden=1280, tower_layers=32, tower_heads=16, tower_intermediate=3420,
        adapter=LORA, dtype="bfloat16", gpu=True,
    ),
}  # fmt: skip

SCALED = {
    "candidates": (4, 8, 16),
    "image_tokens": (64, 144, 256),
    "answer_tokens": (32, 64, 128),
    "vocabulary": (4096, 16384, 65536),
}


@dataclass(frozen=True, slots=True)
class Variant:
    """A shape that differs from `long_cpu` in one number."""

    axis: str
    value: int
    shape: Shape = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.axis}_{self.value}"


def variants() -> list[Variant]:
    """All shapes of `SCALED`."""
    made = []
    for axis, values in SCALED.items():
        for value in values:
            changed: dict[str, Any] = {axis: value}
            made.append(Variant(axis, value, replace(SHAPES["long_cpu"], **changed)))
    return made


def flops(shape: Shape) -> float:
    """Floating-point operations that a rewarding step cannot do without, on a frozen tower.

    Each picture once, each prompt and answer once to sample and once, with a backward pass, to learn.
    """
    prompts, length = shape.queries * prompt_tokens(shape), prompt_tokens(shape)
    answers, keys = shape.tokens, length + shape.answer_tokens / 2
    attention = 4 * shape.hidden * shape.layers * (answers * keys + prompts * length / 2)
    once = 2 * (_body(shape) * (prompts + answers) + shape.hidden * shape.vocabulary * answers) + attention
    return 4 * once + 2 * PATCHES * _tower(shape) * shape.queries * shape.image_tokens


def activations(shape: Shape) -> float:
    """Bytes of a rewarding step: trained weights with their optimizer, activations, and one row of logits a token."""
    tokens = shape.queries * prompt_tokens(shape) + shape.tokens
    layer = 8 * shape.hidden + 4 * shape.intermediate
    trained = _body(shape) + shape.hidden * shape.vocabulary
    return 4.0 * (TRAINED * trained + tokens * shape.layers * layer + shape.tokens * shape.vocabulary)


def prompt_tokens(shape: Shape) -> int:
    """Those of the chat template are left out."""
    return shape.image_tokens + QUERY_WORDS


def _body(shape: Shape) -> int:
    """Weights of the language model without embedding and head."""
    key_value = 2 * shape.hidden * shape.hidden * shape.kv_heads // shape.heads
    return shape.layers * (2 * shape.hidden**2 + key_value + 3 * shape.hidden * shape.intermediate)


def _tower(shape: Shape) -> int:
    return shape.tower_layers * shape.tower_hidden * (4 * shape.tower_hidden + 3 * shape.tower_intermediate)
