"""Stage 2, Abnormal-Aware Rewarding: PPO with three rewards."""

import math
import sys
from collections import defaultdict
from functools import partial
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from umed.chat import Prompt
from umed.errors import InputError, check_positive
from umed.methods.base import Method
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective, total_weight
from umed.methods.sampler import Sampler, rollout_stats
from umed.models.contexts import generating, trained_weights, with_weights
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
        looking: whose attention the vision relevance reward reads, see `Sampler`.
        kl: the penalty on leaving the policy of the start (reading R15), None = none.
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
        looking: Literal["name", "answer"] = "name",
        kl: Kl | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        counts = {"num_epochs": num_epochs, "num_minibatches": num_minibatches, "micro_batch": micro_batch}
        for name, value in counts.items():
            check_positive(f"method.{name}", value)
        if num_candidates < 2 and credit.compares:
            raise InputError(
                f"method.num_candidates={num_candidates} with a group's baseline: one answer has nothing to be "
                "compared with; use at least 2 candidates or credit=gae"
            )
        if type(critic_warmup) is not int or critic_warmup < 0 or (critic_warmup and not credit.uses_values):
            raise InputError(
                f"method.critic_warmup={critic_warmup}: a whole number of batches, above 0 only with credit=gae"
            )
        objective.check(rewards.parts)
        if objective.reward_term == "differentiable" and rewards.normalize != "max":
            raise InputError(
                f"objective.reward_term=differentiable divides the attention by its maximum, reward.normalize="
                f"{rewards.normalize} does not: use reward.normalize=max"
            )
        if getattr(credit, "scope", "answer") == "span" and objective.reward_term != "credit":
            raise InputError(
                f"credit.scope=span splits the reward of the advantage, which objective.reward_term="
                f"{objective.reward_term} does not put there whole: use objective.reward_term=credit"
            )
        self.rewards, self.credit, self.objective = rewards, credit, objective
        self.kl = objective.kl = kl or Kl()
        self.sampler = Sampler(num_candidates, self.max_new_tokens, row, looking)
        self.num_epochs, self.num_minibatches = num_epochs, num_minibatches
        self.micro_batch, self.critic_warmup = micro_batch, critic_warmup
        self.updates_per_batch = num_epochs * num_minibatches
        self.last: tuple[Rollout, Scored] | None = None
        self.reference: dict[str, Tensor] | None = None
        self.told = False

    def configure_model(self) -> None:
        """Build the policy; what it is before its first update is the reference of the KL penalty (reading R15)."""
        super().configure_model()
        if self.kl.on and self.reference is None:
            own = {id(p) for p in self.policy.body()}
            names = {n for n, p in self.policy.named_parameters() if id(p) in own}
            self.reference = {n: w for n, w in trained_weights(self.policy).items() if n in names}

    def training_step(self, batch: list[Prompt], batch_idx: int) -> None:
        clock = [perf_counter()]
        rollout = self.referred(self.sampler(self.policy, batch, self.rewards.needs, self.generator(0)))
        clock.append(perf_counter())
        scored = self.rewards(rollout, self.credit)
        said = rollout_stats(rollout)
        rollout = self.kl.charged(self.objective.kept(rollout))
        rollout = self.credit(rollout, self.objective.credited(scored), scored.summands).updated(
            reward_B=scored.total_B.nan_to_num(0.0),
            attention_max_B=scored.maxima.get("vision_relevance", rollout.attention_max_B),
        )
        self.warn(rollout)
        clock.append(perf_counter())
        stats = defaultdict(list)
        order = torch.Generator().manual_seed(self.generator(1).initial_seed())
        for part in rollout.minibatches(self.num_epochs, self.num_minibatches, order):
            for name, value in self.update(part).items():
                stats[name].append(float(value))
        clock.append(perf_counter())
        self.last = (rollout, scored)
        means = {name: finite_mean(v) for name, v in stats.items()}
        # a policy that took no step steers nothing
        stepped = 0.0 in stats["policy/skipped"] and self.iteration >= self.critic_warmup
        self.log_batch(
            {
                **scored.means(),
                **said,
                **means,
                **({"policy/explained_variance": explained_variance(rollout)} if self.credit.uses_values else {}),
                **self.kl.steer(rollout, stepped),
                **self.objective.steer(means.get("policy/entropy", math.nan), stepped),
                **{
                    f"time/{n}": b - a for n, a, b in zip(("sample", "score", "update"), clock, clock[1:], strict=False)
                },
            }
        )

    def referred(self, rollout: Rollout) -> Rollout:
        """The rollout with what the policy of the start thinks of its answers, where a penalty asks for it."""
        if self.reference is None:
            return rollout
        with torch.no_grad(), generating(self.policy), with_weights(self.policy, self.reference):
            said = self.policy.score(rollout.prompts, rollout.ids_BT, rollout.mask_BT, values=False)
        return rollout.updated(ref_logp_BT=said.logp_BT)

    def warn(self, rollout: Rollout) -> None:
        """Say once that no answer of a whole batch counts; what is logged says it every time."""
        if not self.told and not rollout.mask_BT.any():
            self.told = True
            tqdm.write(
                f"{self.stage}/iteration {self.iteration}: nothing is learned from this batch: no answer could be "
                "scored by any reward, or all were cut off; see reward/unscored and rollout/truncated",
                file=sys.stderr,
            )

    def update(self, part: Rollout) -> dict[str, Tensor]:
        """One optimizer step on a minibatch, in micro-batches of whole queries; none where no token counts."""
        if not part.mask_BT.any():
            return {}
        weight = total_weight(part.mask_BT, self.objective.aggregation)
        tokens = total_weight(part.mask_BT, "token_mean")
        queries = torch.arange(len(part.prompts))
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        for few in queries.split(self.micro_batch or len(queries)):
            loss, parts = self.objective(self.policy, part.take(few), weight, tokens)
            self.manual_backward(loss)
            for name, value in parts.items():
                sums[name] = sums[name] + value
        if self.iteration < self.critic_warmup:
            for p in self.policy.body():
                p.grad = None
        return self.apply_gradients(dict(sums), partial(evidence, part))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["controllers"] = {"kl": self.kl.state(), "objective": self.objective.state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.kl.load(checkpoint["controllers"]["kl"])
        self.objective.load(checkpoint["controllers"]["objective"])


def finite_mean(values: list[float]) -> float:
    """The mean over the updates whose number is finite; NaN when none is."""
    kept = [v for v in values if math.isfinite(v)]
    return sum(kept) / len(kept) if kept else math.nan


def evidence(part: Rollout) -> dict[str, Any]:
    """A minibatch for inspection: ids, texts and tensors only."""
    names = ("ids_BT", "mask_BT", "logp_BT", "values_BT", "ref_logp_BT", "reward_B", "advantages_BT", "returns_BT")
    tensors = {name: getattr(part, name).detach().cpu() for name in names}
    return {"records": [r.id for r in part.records], "answers": part.raw, **tensors}


def explained_variance(rollout: Rollout) -> float:
    """1 - Var(return - V) / Var(return) over valid tokens; 1 = the critic knows, below 0 = worse than a constant."""
    returns = rollout.returns_BT[rollout.mask_BT]
    values = rollout.values_BT[rollout.mask_BT]
    spread = returns.var(correction=0) if len(returns) else returns.new_zeros(())
    return float(1 - (returns - values).var(correction=0) / spread) if spread > 0 else 0.0
