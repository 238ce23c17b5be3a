"""`Plan`: memory of tuning, rewarding and evaluation by the token budget, and the budget that a device allows."""

from dataclasses import dataclass
from itertools import pairwise

from umed.engine.budget import CACHED

GB = 2**30
RESERVED = 0.1  # of a device: the CUDA context, workspaces of kernels, gaps between allocations


@dataclass(frozen=True)
class Line:
    """Peak bytes of one kind of pass by the tokens of the budget; straight between the counts and behind the last."""

    counts: tuple[tuple[float, float], ...]  # tokens, bytes; both rise

    def peak(self, tokens: float) -> float:
        if len(self.counts) == 1 or tokens <= self.counts[0][0]:
            return self.counts[0][1]
        pairs = list(pairwise(self.counts))
        (x0, y0), (x1, y1) = next((pair for pair in pairs if tokens <= pair[1][0]), pairs[-1])
        return y0 + (tokens - x0) * (y1 - y0) / (x1 - x0)

    def tokens(self, size: float) -> float:
        """The most tokens with which it takes at most `size` bytes; 0 if none."""
        if size < self.counts[0][1]:
            return 0
        pairs = [((0.0, 0.0), self.counts[0]), *pairwise(self.counts)]
        (x0, y0), (x1, y1) = next((pair for pair in pairs[1:] if size < pair[1][1]), pairs[-1])
        if len(pairs) == 1 or y1 == y0:  # it does not grow
            return float("inf")
        return x0 + (size - y0) * (x1 - x0) / (y1 - y0)


@dataclass(frozen=True)
class Phase:
    """What one phase needs.

    Args:
        least: tokens of one prompt and one answer, which a pass must hold.
        lines: by name of what takes memory, the largest counts: `pictures` that are encoded; `prompts` that are read,
            `sampling` and `scoring` after them, which keep a cache only; `gradients`; the `optimizer`.
        weights: bytes of all weights.
        activations, cache: bytes a token that a pass with gradients saves, and that a key/value cache holds.
    """

    least: int
    lines: dict[str, Line]
    weights: float
    activations: float
    cache: float

    def peak(self, tokens: float) -> float:
        """Bytes at the peak."""
        return max(line.peak(tokens) for line in self.lines.values())

    def largest_budget(self, size: float) -> int | None:
        """The largest `engine.tokens` with which `size` bytes are enough, None = no budget is small enough."""
        tokens = min(line.tokens(size) for line in self.lines.values())
        least = self.least if "gradients" in self.lines else self.least / CACHED
        return int(tokens) if tokens >= least else None


@dataclass(frozen=True)
class Plan:
    """The phases of a model by name (`sft`, `aar`, `evaluate`), and the prompts that they were counted with."""

    phases: dict[str, Phase]
    prompt_tokens: int
    image_tokens: int

    def largest_budget(self, device: float, method: str) -> int | None:
        """The largest `engine.tokens` for a method and its evaluation on a device of so many bytes."""
        budgets = [self.phases[p].largest_budget(device * (1 - RESERVED)) for p in (method, "evaluate")]
        return None if None in budgets else min(b for b in budgets if b is not None)
