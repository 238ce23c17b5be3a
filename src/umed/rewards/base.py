"""What a reward is: one number for each answer of a rollout, from the evidence it asks for."""

from typing import Protocol

from torch import Tensor

from umed.rollout import Rollout


class Reward(Protocol):
    """Scores the answers of a rollout; a reward never sees the policy.

    Attributes:
        name: the reward's name in logs and tables.
        needs: the evidence it reads, of "text", "boxes" and "attention"; the sampler gathers only what is needed.
        max_normalized: whether equation (7) divides it by the maximum over the answers to one query.
        weight: its factor in the total.
    """

    weight: float

    @property
    def max_normalized(self) -> bool: ...

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[str]: ...

    def __call__(self, rollout: Rollout, /) -> Tensor:
        """(B,) float32, raw and unweighted. NaN = does not apply: masked and counted by the caller, never a 0."""
        ...
