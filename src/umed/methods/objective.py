"""The clipped objective, equations (8)-(11), as the loss (16) that is minimized."""

import math
from typing import Literal

import torch
from torch import Tensor

from umed.errors import InputError, check_choice, check_number, check_positive
from umed.methods.kl import Kl
from umed.methods.reward_term import REWARD_TERMS
from umed.models.policy import Policy, Scores
from umed.rewards.total import TotalReward
from umed.rollout import Rollout, TrainingBatch

Parts = dict[str, Tensor]
NAMES = ("policy/clip", "policy/value_loss", "policy/entropy", "policy/kl", "policy/clipfrac")


def clipped_surrogate(
    logp: Tensor, old: Tensor, advantages: Tensor, eps: float, eps_high: float | None = None, dual: float | None = None
) -> Tensor:
    """min(rho A, clip(rho, 1 - eps, 1 + eps_high) A) per token, equation (8).

    Args:
        eps_high: None = eps; a higher one lets rare tokens grow (DAPO).
        dual: where A < 0 the gain is not below dual * A, however large rho is (dual-clip PPO); above 1.
    """
    ratio = (logp - old).exp()
    high = eps if eps_high is None else eps_high
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - eps, 1 + high) * advantages)
    return gain if dual is None else torch.where(advantages < 0, torch.maximum(gain, dual * advantages), gain)


def clipped_value_error(values: Tensor, old: Tensor, target: Tensor, clip: float) -> Tensor:
    """Squared error of equation (9) per token; the larger of the free and the clipped one."""
    near = old + (values - old).clamp(-clip, clip)
    return torch.maximum((values - target) ** 2, (near - target) ** 2)


def token_weights(mask_BT: Tensor, aggregation: str, max_length: int) -> Tensor:
    """The weight of each token in E_t (reading R18), before division by `total_weight`."""
    mask = mask_BT.float()
    if aggregation == "seq_mean":
        return mask / mask.sum(1, keepdim=True).clamp(min=1)
    if aggregation == "constant":
        return mask / max_length
    return mask


def total_weight(mask_BT: Tensor, aggregation: str) -> float:
    """What a whole update batch divides by, so that any split into micro-batches gives the same gradient."""
    if aggregation == "token_mean":
        return max(1.0, float(mask_BT.sum()))
    return max(1.0, float(mask_BT.any(1).sum())) if aggregation == "seq_mean" else float(len(mask_BT))


class ClippedObjective:
    """- (L_CLIP + c1 r - c2 L_VF + c3 S), equation (11) with its sign turned (reading R9).

    Args:
        rewards: whose sum enters.
        kl: a penalty that may be in the loss.
        clip_eps, c1, c2, c3, value_clip: of the equations.
        clip_eps_high, dual_clip: see `clipped_surrogate`.
        entropy_target: nats a token; c3 rises by `c3_step` after each batch below it and falls after each above, within
            [0, c3_max]. None = c3 stays.
        mask_truncated: answers that reached the length limit leave the loss.
        attention_weight: factor of the gradient through the attention, with `differentiable` only.
        reward_term: reading R8 of c1 * r_t: `credit`, `score_function` or `differentiable`, see `reward_term.py`.
        aggregation: reading R18: `token_mean`, `seq_mean` or `constant`.
        max_length: the divisor of `constant`.

    Raises:
        InputError: a setting that cannot be, or a reading that these rewards cannot serve.
    """

    def __init__(
        self,
        rewards: TotalReward,
        kl: Kl,
        clip_eps: float = 0.2,
        c1: float = 1.0,
        c2: float = 0.5,
        c3: float = 0.01,
        value_clip: float = 0.2,
        reward_term: Literal["credit", "score_function", "differentiable"] = "credit",
        aggregation: Literal["token_mean", "seq_mean", "constant"] = "token_mean",
        max_length: int = 256,
        clip_eps_high: float | None = None,
        dual_clip: float | None = None,
        entropy_target: float | None = None,
        c3_step: float = 1e-3,
        c3_max: float = 0.1,
        mask_truncated: bool = False,
        attention_weight: float = 1.0,
    ) -> None:
        self.reward_term = check_choice("objective.reward_term", reward_term, *REWARD_TERMS)
        self.aggregation = check_choice("objective.aggregation", aggregation, "token_mean", "seq_mean", "constant")
        check_number("objective.dual_clip", dual_clip, above=1)
        for name, value in {"clip_eps": clip_eps, "clip_eps_high": clip_eps_high, "value_clip": value_clip}.items():
            check_number(f"objective.{name}", value, above=0)
        for name, value in {
            "entropy_target": entropy_target,
            "c3_step": c3_step,
            "c3_max": c3_max,
            "attention_weight": attention_weight,
        }.items():
            check_number(f"objective.{name}", value, at_least=0)
        if not isinstance(mask_truncated, bool):
            raise InputError(f"objective.mask_truncated={mask_truncated}: true or false")
        check_positive("objective.max_length", max_length)
        self.kl, self.term = (
            kl,
            REWARD_TERMS[reward_term](rewards, c1 * (attention_weight if reward_term == "differentiable" else 1.0)),
        )
        self.clip_eps, self.clip_eps_high, self.dual_clip = clip_eps, clip_eps_high, dual_clip
        self.c2, self.c3, self.value_clip, self.max_length = c2, c3, value_clip, max_length
        self.entropy_target, self.c3_step, self.c3_max = entropy_target, c3_step, c3_max
        self.mask_truncated = mask_truncated

    def without_truncated(self, rollout: Rollout) -> Rollout:
        """The rollout without the answers that leave the loss."""
        gone = rollout.truncated_B[:, None].to(rollout.mask_BT.device) & self.mask_truncated
        return rollout.updated(mask_BT=rollout.mask_BT & ~gone)

    def steer(self, entropy: float, stepped: bool) -> dict[str, float]:
        """Move c3 towards the entropy's target after a batch that took a step; c3 before."""
        if self.entropy_target is None:
            return {}
        metrics = {"policy/c3": self.c3}
        if stepped and math.isfinite(entropy):
            step = self.c3_step if entropy < self.entropy_target else -self.c3_step
            self.c3 = min(max(self.c3 + step, 0.0), self.c3_max)
        return metrics

    def state(self) -> dict[str, float]:
        return {"c3": self.c3}

    def load(self, state: dict[str, float]) -> None:
        self.c3 = state["c3"]

    def __call__(
        self, policy: Policy, part: TrainingBatch, weight: float, tokens: float | None = None
    ) -> tuple[Tensor, Parts]:
        """The loss of a micro-batch whose update batch weighs `weight`, and its named parts (sums over the batch)."""
        rows = part.name_BN.to(policy.device) if self.term.needs_attention else None
        scores = policy.score(part.prompts, part.ids_BT, part.mask_BT, rows)
        return self.loss(scores, part, weight, tokens)

    def loss(
        self, scores: Scores, part: TrainingBatch, weight: float, tokens: float | None = None
    ) -> tuple[Tensor, Parts]:
        """Equation (16) on tensors alone.

        Args:
            tokens: valid ones of the whole update batch, None = of this part: entropy, KL and clipped share are means a
                token, whatever the aggregation of the loss.
        """
        mask = part.mask_BT
        share = token_weights(mask, self.aggregation, self.max_length) / weight
        logp = scores.logp_BT.where(mask, part.logp_BT)
        gain = clipped_surrogate(
            logp, part.logp_BT, part.advantages_BT, self.clip_eps, self.clip_eps_high, self.dual_clip
        )
        gain = gain + self.term.gain(scores, part, logp)
        value = clipped_value_error(scores.values_BT, part.values_BT, part.returns_BT, self.value_clip)
        clip, value_loss, entropy = (-(gain * share).sum(), (value * share).sum(), (scores.entropy_BT * share).sum())
        penalty = (self.kl.loss(logp, part.ref_logp_BT) * share).sum()
        loss = clip + self.c2 * value_loss - self.c3 * entropy + penalty
        with torch.no_grad():
            log_ratio = logp - part.logp_BT
            high = self.clip_eps if self.clip_eps_high is None else self.clip_eps_high
            change = log_ratio.exp() - 1
            each = mask.float() / (tokens or total_weight(mask, "token_mean"))
            outside = ((change < -self.clip_eps) | (change > high)).float()
            sums = (
                clip.detach(),
                value_loss.detach(),
                (scores.entropy_BT * each).sum(),
                ((change - log_ratio) * each).sum(),
                (outside * each).sum(),
            )
        return loss, dict(zip(NAMES, sums, strict=True))
