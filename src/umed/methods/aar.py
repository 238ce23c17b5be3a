"""Stage 2, Abnormal-Aware Rewarding: PPO with three rewards."""

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from umed.chat import Prompt
from umed.engine.budget import Part
from umed.errors import InputError, check_choice, check_positive
from umed.methods.base import BuildPolicy, Method
from umed.methods.credit.base import Credit, check_credit
from umed.methods.kl import Kl
from umed.methods.objective import NAMES, ClippedObjective, Parts, total_weight
from umed.methods.sampler import Sampler
from umed.methods.shared_batch import SharedBatch
from umed.models.critics.base import Critic, check_critic
from umed.models.critics.shared import SharedCritic
from umed.models.noise import Noise
from umed.rewards.total import Scored, TotalReward
from umed.rollout import Rollout, TrainingBatch


class AbnormalAwareRewarding(Method):
    """Objective (11) on answers sampled from the current policy.

    Args:
        rewards: the sum of equation (13).
        credit: advantages and returns, equations (14) and (15).
        objective: makes the loss (16) from `rewards` and `kl`.
        critic: makes V, where the credit uses one.
        num_candidates: G, answers a query; row: reading R4.
        num_epochs, num_minibatches: passes over a rollout and updates a pass.
        queries: which train records are asked, see `choose_queries`.
        critic_warmup: batches in which only the critic learns.
        looking: which tokens' attention the rewards read, see `Sampler`.
        kl: the penalty on leaving the policy of the start (reading R15), None = none.
    """

    name = "aar"
    adapter_dropout = 0.0  # with dropout the ratio of the first pass would not be 1

    def __init__(
        self,
        policy: BuildPolicy,
        *,
        rewards: TotalReward,
        credit: Credit,
        objective: Callable[..., ClippedObjective],
        critic: Callable[..., Critic] = SharedCritic,
        queries: Literal["annotated", "boxes_only"] = "annotated",
        num_candidates: int = 4,
        num_epochs: int = 2,
        num_minibatches: int = 2,
        critic_warmup: int = 0,
        row: Literal["token", "predictor"] = "token",
        looking: Literal["name", "answer"] = "name",
        kl: Kl | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(policy, **kwargs)
        self.queries = check_choice("method.queries", queries, "annotated", "boxes_only")
        for name, value in {"num_epochs": num_epochs, "num_minibatches": num_minibatches}.items():
            check_positive(f"method.{name}", value)
        if num_minibatches > self.batch_size:
            raise InputError(
                f"method.num_minibatches={num_minibatches} with method.batch_size={self.batch_size}: a part has at "
                "least one query; set num_minibatches to batch_size or less"
            )
        check_credit(credit)
        if num_candidates < 2 and credit.compares:
            raise InputError(
                f"method.num_candidates={num_candidates} with a group's baseline: one answer has nothing to be "
                "compared with; use at least 2 candidates or credit=gae"
            )
        if type(critic_warmup) is not int or critic_warmup < 0 or (critic_warmup and not credit.uses_values):
            raise InputError(
                f"method.critic_warmup={critic_warmup}: a whole number of batches, above 0 only with credit=gae"
            )
        self.kl = kl or Kl()
        self.objective = objective(rewards=rewards, kl=self.kl)
        if credit.by_span and not self.objective.term.splits:
            raise InputError(
                f"credit.scope=span gives a token the rewards that judge it, objective.reward_term="
                f"{self.objective.reward_term} the sum of all: use objective.reward_term=credit or "
                "differentiable, or a credit without spans, as credit=group or credit=gae"
            )
        self.rewards, self.credit, self.needs = rewards, credit, rewards.needs
        if credit.uses_values:
            self.make_critic = check_critic(critic)
        self.sampler = Sampler(num_candidates, self.max_new_tokens, row, looking)
        self.num_epochs, self.num_minibatches = num_epochs, num_minibatches
        self.critic_warmup = critic_warmup
        self.shared = SharedBatch(self.processes)
        self.updates_per_batch = num_epochs * num_minibatches
        self.warned = False

    def configure_model(self) -> None:
        """Build the policy; before its first update it is the reference of the KL penalty (reading R15)."""
        super().configure_model()
        self.kl.remember(self.policy)

    def longest_answer(self, gold: int) -> int:
        return self.max_new_tokens

    def training_step(self, batch: list[Prompt], batch_idx: int) -> dict[str, Any]:
        """One iteration; returns this process's training batch and its rewards, for callbacks."""
        clock, noise = Clock(), Noise(self.seed, self.iteration)
        once = self.updates_per_batch == 1
        rollout = self.sampler(  # a ~ pi_old(. | x, q)
            self.engine,
            batch,
            self.needs,
            noise,
            keep=once,
            keep_attention=self.objective.term.needs_attention,
            places=self.shared.places(len(batch)),
            begin=self.rewards.begin,
        )
        reference = self.kl.reference(self.engine, rollout)  # log pi_ref(a | x, q)
        clock.lap("sample")
        whole, raw, reference = self.shared.gather(rollout, self.rewards.score_each(rollout), reference)
        scored = self.rewards.combine(whole, raw)  # R = r_LLM + n(r_loc) + n(r_att)
        training = self.credited(whole, scored, reference)  # A, returns
        own = self.shared.own(rollout, training)
        clock.lap("score")
        parts = self.shared.minibatches(own, training, *self.passes())
        means = finite_means(self.update(part, mask_BT) for part, mask_BT in parts)  # loss (16)
        clock.lap("update")
        metrics = {**means, **self.credit.metrics(training), **self.steer(training, means)}
        self.log_batch({**scored.means(), **whole.means(), **metrics, **clock.seconds})
        return {"batch": own, "scored": self.shared.own_scored(whole, scored)}

    def credited(self, rollout: Rollout, scored: Scored, ref_logp_BT: Tensor) -> TrainingBatch:
        """Advantages and returns of the answers that stay in the loss."""
        kept, term = self.objective.without_truncated(rollout), self.objective.term
        penalty = self.kl.penalty(kept, ref_logp_BT)
        credit = self.credit(kept, term.credited(scored), penalty, term.credited_spans(scored))
        batch = TrainingBatch.of(
            rollout,
            mask_BT=credit.mask_BT,
            ref_logp_BT=ref_logp_BT,
            reward_B=scored.total_B.nan_to_num(0.0),
            maxima=scored.maxima,
            advantages_BT=credit.advantages_BT,
            returns_BT=credit.returns_BT,
        )
        self.warn(batch)
        return batch

    def passes(self) -> tuple[int, int, torch.Generator]:
        """How often and in how many parts a rollout is learned from, and in which order."""
        return self.num_epochs, self.num_minibatches, self.generator(1)

    def steer(self, batch: TrainingBatch, means: Mapping[str, float]) -> dict[str, float]:
        """Adapt the coefficients of KL and entropy; a policy that took no step steers nothing."""
        stepped = means.get("policy/skipped", 1.0) < 1.0 and self.iteration >= self.critic_warmup
        entropy = means.get("policy/entropy", math.nan)
        return {**self.kl.steer(batch, stepped), **self.objective.steer(entropy, stepped)}

    def warn(self, batch: TrainingBatch) -> None:
        """Say once that no answer of a whole batch counts; what is logged says it every time."""
        if not self.warned and self.processes.rank == 0 and not batch.mask_BT.any():
            self.warned = True
            tqdm.write(
                f"{self.stage}/iteration {self.iteration}: nothing is learned from this batch: no answer could be "
                "scored by any reward, or all were cut off; see reward/unscored and rollout/truncated",
                file=sys.stderr,
            )

    def update(self, part: TrainingBatch, whole_BT: Tensor | None = None) -> dict[str, float]:
        """One optimizer step on a minibatch; none where no token counts.

        Args:
            whole_BT: valid tokens of all of the minibatch, None = `part` is all of it.
        """
        mask_BT = part.mask_BT.cpu()
        all_BT = mask_BT if whole_BT is None or whole_BT is part.mask_BT else whole_BT.cpu()
        if not all_BT.any():
            return {}
        weight = total_weight(all_BT, self.objective.aggregation)
        tokens = total_weight(all_BT, "token_mean")

        def loss_of(few: Part) -> tuple[Tensor, Parts]:
            live = self.engine.take_live()
            if live and len(few.queries) * len(few.candidates) == len(part.ids_BT):  # no part of it alone
                return self.objective.loss(live, part, weight, tokens)
            return self.objective(self.policy, part.take(few.queries, few.candidates, few.width), weight, tokens)

        if mask_BT.any():
            numbers = self.engine.backward(part.prompts, mask_BT, loss_of, self.manual_backward)
        else:  # the other processes have tokens, and wait for this one's zeros
            self.engine.take_live()
            numbers = dict.fromkeys(NAMES, torch.zeros((), device=self.device))
        if self.iteration < self.critic_warmup:
            for p in self.policy.body():
                p.grad = None
        return self.apply_gradients(numbers, partial(inspected, part))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["controllers"] = {"kl": self.kl.state(), "objective": self.objective.state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.kl.load(checkpoint["controllers"]["kl"])
        self.objective.load(checkpoint["controllers"]["objective"])


class Clock:
    """Seconds between laps, as `time/*`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = perf_counter()

    def lap(self, name: str) -> None:
        now = perf_counter()
        self.seconds[f"time/{name}"], self.last = now - self.last, now


def finite_means(updates: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each number over the updates where it is finite; NaN where it never is."""
    values: dict[str, list[float]] = defaultdict(list)
    for update in updates:
        for name, value in update.items():
            values[name].append(value)
    finite = {name: [v for v in each if math.isfinite(v)] for name, each in values.items()}
    return {name: sum(each) / len(each) if each else math.nan for name, each in finite.items()}


def inspected(part: TrainingBatch) -> dict[str, Any]:
    """A minibatch for inspection: ids, texts and tensors only."""
    names = ("ids_BT", "mask_BT", "logp_BT", "values_BT", "ref_logp_BT", "reward_B", "advantages_BT", "returns_BT")
    tensors = {name: getattr(part, name).detach().cpu() for name in names}
    return {"records": [r.id for r in part.records], "answers": part.raw, **tensors}
