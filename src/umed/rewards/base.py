"""What a reward is: one number for each answer of a rollout, from the evidence it asks for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from umed.chat import Prompt
from umed.errors import InputError, check_number
from umed.rollout import Rollout

EVIDENCE = frozenset({"text", "boxes", "attention"})


class Reward(ABC):
    """Scores the answers of a rollout; a reward never sees the policy.

    A subclass implements `__call__` and sets the attributes that differ from these defaults.
    """

    needs: frozenset[str] = frozenset({"text"})
    """Evidence it reads, of `EVIDENCE`; the sampler collects only what is needed."""
    weight: float = 1.0
    """Factor in the total."""
    max_normalized: bool = True
    """Whether equation (7) divides it by the maximum over the answers to one query."""
    judged: bool = False
    """Whether a judge scores it: r_LLM of equation (3), whose NaN are judge failures."""
    differentiable: bool = False
    """Whether `share(attention_BNP, rollout)` gives it from fresh attention, with a gradient."""
    span: Literal["boxes", "name"] = "name"
    """Which tokens of the answer it judges, for a credit that gives each token its own rewards."""
    gold_ties: bool = False
    """Whether a wrong answer may score as high as the gold answer; the contract test asks."""

    def begin(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> None:  # noqa: B027
        """Begin what takes its time, while log-probs of these answers are computed; `__call__` follows, as a rule.

        Only called where `judged`.

        Args:
            texts: the answers as plain language, as many to each prompt, standing together.
        """

    @abstractmethod
    def __call__(self, rollout: Rollout, /) -> Tensor:
        """(B,) on any device, raw and unweighted; NaN = does not apply, which is masked and counted, never a 0."""

    def share(self, attention_BNP: Tensor, rollout: Rollout) -> Tensor:
        """(B,) from fresh attention, with its gradient; only where `differentiable`."""
        raise NotImplementedError


ASKED = ("needs", "weight", "max_normalized", "judged", "differentiable", "span", "gold_ties")


def check_reward(key: str, reward: Any) -> None:
    """Refuse a reward that lacks what the protocol asks.

    Args:
        key: of `reward.parts`.

    Raises:
        InputError: naming what is missing or wrong.
    """
    where = f"reward.parts.{key} ({type(reward).__module__}.{type(reward).__qualname__})"
    missing = [name for name in ASKED if not hasattr(reward, name)]
    if not callable(reward):
        missing.append("__call__")
    if not missing and reward.differentiable and getattr(type(reward), "share", Reward.share) is Reward.share:
        missing.append("share")
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}: derive it from umed.rewards.base.Reward, or add them")
    if unknown := sorted(set(reward.needs) - EVIDENCE):
        raise InputError(f"{where}.needs={unknown}: the evidence is {', '.join(sorted(EVIDENCE))}")
    check_number(f"reward.parts.{key}.weight", reward.weight)
    if reward.span not in ("boxes", "name"):
        raise InputError(f"{where}.span={reward.span}: choose boxes or name")
