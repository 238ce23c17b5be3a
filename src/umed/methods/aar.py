"""Stage 2, Abnormal-Aware Rewarding: PPO with three rewards."""

from collections import defaultdict
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor

from umed.chat import Prompt
from umed.errors import InputError, positive
from umed.methods.base import Method
from umed.methods.credit.base import k3
from umed.methods.objective import ClippedObjective, total_weight
from umed.methods.sampler import Sampler, rollout_stats
from umed.models.modes import generating, trained_weights, with_weights
from umed.rewards.total import Scored, TotalReward
from umed.rollout import Rollout


class AbnormalAwareRewarding(Method):
    """Objective (11) on answers sampled from the current policy.

    Args:
        rewards: the sum of equation (13).
        credit: advantages and returns, equations (14) and (15).
        objective: the loss (16).
        num_candidates: G, answers a query; row: reading R4.
        num_epochs, num_minibatches: passes over a rollout and updates a pass.
        micro_batch: queries a backward pass, None = the whole minibatch; the result does not depend on it.
        critic_warmup: batches in which only the critic learns.
    """

    stage = "aar"
    adapter_dropout = 0.0  # with dropout the ratio of the first pass would not be 1

    def __init__(
        self,
        *args: Any,
        rewards: TotalReward,
        credit: Any,
        objective: ClippedObjective,
        num_candidates: int = 4,
        num_epochs: int = 2,
        num_minibatches: int = 2,
        micro_batch: int | None = None,
        critic_warmup: int = 0,
        row: Literal["token", "predictor"] = "token",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        counts = {"num_epochs": num_epochs, "num_minibatches": num_minibatches, "micro_batch": micro_batch}
        for name, value in counts.items():
            positive(f"method.{name}", value)
        if num_candidates < 2 and not credit.uses_values:
            raise InputError(
                f"method.num_candidates={num_candidates} with a group's baseline: one answer has nothing to be "
                "compared with; use at least 2 candidates or credit=gae"
            )
        objective.check(rewards.parts)
        if getattr(credit, "scope", "answer") == "span" and objective.reward_term != "credit":
            raise InputError(
                f"credit.scope=span splits the reward of the advantage, which objective.reward_term="
                f"{objective.reward_term} does not put there whole: use objective.reward_term=credit"
            )
        self.rewards, self.credit, self.objective = rewards, credit, objective
        self.sampler = Sampler(num_candidates, self.max_new_tokens, row)
        self.num_epochs, self.num_minibatches = num_epochs, num_minibatches
        self.micro_batch, self.critic_warmup = micro_batch, critic_warmup
        self.updates_per_batch = num_epochs * num_minibatches
        self.last: tuple[Rollout, Scored] | None = None
        self.reference: dict[str, Tensor] | None = None

    def configure_model(self) -> None:
        """Build the policy; what it is before its first update is the reference of the KL penalty (reading R15)."""
        super().configure_model()
        if getattr(self.credit, "kl_coef", 0.0) and self.reference is None:
            self.reference = trained_weights(self.policy)

    def training_step(self, batch: list[Prompt], batch_idx: int) -> None:
        clock = [perf_counter()]
        rollout = self.sampler(self.policy, batch, self.rewards.needs, self.generator(0))
        if self.reference is not None:
            with torch.no_grad(), generating(self.policy), with_weights(self.policy, self.reference):
                said = self.policy.score(rollout.prompts, rollout.ids_BT, rollout.mask_BT)
            rollout = rollout.updated(ref_logp_BT=said.logp_BT)
        clock.append(perf_counter())
        scored = self.rewards(rollout, self.credit)
        rollout = self.credit(rollout, self.objective.credited(scored), scored.summands)
        rollout = rollout.updated(
            reward_B=scored.total_B.nan_to_num(0.0),
            attention_max_B=scored.maxima.get("vision_relevance", rollout.attention_max_B),
        )
        clock.append(perf_counter())
        stats = defaultdict(list)
        order = torch.Generator().manual_seed(self.generator(1).initial_seed())
        for part in rollout.minibatches(self.num_epochs, self.num_minibatches, order):
            for name, value in self.update(part).items():
                stats[name].append(float(value))
        clock.append(perf_counter())
        self.last = (rollout, scored)
        self.log_batch(
            {
                **scored.means(),
                **rollout_stats(rollout),
                **{name: sum(v) / len(v) for name, v in stats.items()},
                "policy/explained_variance": explained_variance(rollout),
                **({"policy/kl_ref": reference_kl(rollout)} if self.reference is not None else {}),
                **{
                    f"time/{n}": b - a for n, a, b in zip(("sample", "score", "update"), clock, clock[1:], strict=False)
                },
            }
        )

    def update(self, part: Rollout) -> dict[str, Tensor]:
        """One optimizer step on a minibatch, in micro-batches of whole queries."""
        weight = total_weight(part.mask_BT, self.objective.aggregation)
        queries = torch.arange(len(part.prompts))
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        for few in queries.split(self.micro_batch or len(queries)):
            loss, parts = self.objective(self.policy, part.take(few), weight)
            self.manual_backward(loss)
            for name, value in parts.items():
                sums[name] = sums[name] + value
        if self.iteration < self.critic_warmup:
            for p in self.policy.model.parameters():
                p.grad = None
        return self.apply_gradients(dict(sums))


def explained_variance(rollout: Rollout) -> float:
    """1 - Var(return - V) / Var(return) over valid tokens; 1 = the critic knows, below 0 = worse than a constant."""
    returns = rollout.returns_BT[rollout.mask_BT]
    values = rollout.values_BT[rollout.mask_BT]
    spread = returns.var(correction=0) if len(returns) else returns.new_zeros(())
    return float(1 - (returns - values).var(correction=0) / spread) if spread > 0 else 0.0


def reference_kl(rollout: Rollout) -> float:
    """Mean k3 estimate of KL(pi_old || pi_ref) over valid tokens (reading R15)."""
    mask = rollout.mask_BT
    return float(k3(rollout.logp_BT, rollout.ref_logp_BT)[mask].mean()) if mask.any() else 0.0
