"""The summed reward R_g, equation (13), with its named parts."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from umed.chat import Prompt
from umed.errors import InputError, check_choice, check_positive
from umed.rewards.base import Reward, check_reward
from umed.rollout import Rollout, to_floats

ADVANTAGE = "advantage"  # the summand of reading R7 `literal`
EXAMPLES = {"judged": "relevance", "differentiable": "vision_relevance"}  # in messages


@dataclass(frozen=True, slots=True)
class Scored:
    """R_g and its parts; NaN in a part = does not apply, NaN in the total = nothing applied.

    Args:
        raw: each reward as its class gives it.
        summands: normalized and weighted; they sum to the total.
        maxima: of each reward over the answers to one query, per answer.
        spans: summand -> the tokens it judges, `boxes` or `name`.
        judged: rewards that a judge scores.
    """

    total_B: Tensor
    num_candidates: int
    raw: Mapping[str, Tensor]
    summands: Mapping[str, Tensor]
    maxima: Mapping[str, Tensor]
    spans: Mapping[str, str]
    judged: Sequence[str]

    def sum_of(self, names: Sequence[str]) -> Tensor:
        """The sum of these summands, (B,)."""
        return nan_total([self.summands[name] for name in names], self.num_candidates)

    def total_without(self, names: Collection[str]) -> Tensor:
        """The total less these summands, (B,): NaN where the total is, 0 where nothing else applied.

        The others are summed anew: a difference would round equal rewards to unequal ones.
        """
        rest = [value for name, value in self.summands.items() if name not in names]
        left = nan_total(rest, self.num_candidates).nan_to_num(0.0) if rest else torch.zeros_like(self.total_B)
        return left.where(~self.total_B.isnan(), torch.nan)

    def by_span(self, without: Collection[str] = ()) -> dict[str, Tensor]:
        """`boxes` and `name` -> the sum of the summands that judge those tokens, where there are any.

        Args:
            without: summands that are left out.
        """
        left = {name: span for name, span in self.spans.items() if name not in without}
        names = {span: [n for n, of in left.items() if of == span] for span in ("boxes", "name")}
        return {span: self.sum_of(of) for span, of in names.items() if of}

    def means(self) -> dict[str, float]:
        """`reward/*`: raw means, normalized means and how often a part did not apply; `rollout/judge_failed`."""
        stats = {"reward/total": self.total_B.nanmean(), "reward/unscored": self.total_B.isnan().float().mean()}
        for name, value in self.raw.items():
            stats[f"reward/{name}"] = value.nanmean()
            stats[f"reward/{name}_normalized"] = self.summands[name].nanmean()
        if self.judged:
            failed = torch.stack([self.raw[name].isnan() for name in self.judged])
            stats["rollout/judge_failed"] = failed.float().mean()
        return to_floats(stats)


class TotalReward:
    """R_g = r_LLM + n(r_loc) + n(r_att), equation (13).

    Args:
        parts: the rewards by name.
        num_candidates: G; the paper's normalization needs at least two answers to compare.
        normalize: reading R6, `max` over the answers to one query (0/0 := 0); `zscore`, every reward against the
            answers to one query, in its own spread, before the sum (0/0 := 0); or `none`.
        advantage_in_reward: reading R7, `literal` adds a detached advantage of r_LLM to the reward.
        credit: gives that advantage.

    Raises:
        InputError: a part that lacks what `Reward` asks, or settings that cannot go together.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        num_candidates: int,
        normalize: Literal["max", "zscore", "none"] = "max",
        advantage_in_reward: Literal["false", "literal"] = "false",
        credit: Callable[[Rollout, Tensor], Any] | None = None,
    ) -> None:
        check_positive("method.num_candidates", num_candidates)
        if not parts:
            raise InputError("reward=[]: choose at least one of relevance, localization, vision_relevance")
        for key, part in parts.items():
            check_reward(key, part)
        self.parts: dict[str, Reward] = dict(parts)
        self.normalize = check_choice("reward.normalize", normalize, "max", "zscore", "none")
        compared = {"max": any(p.max_normalized for p in parts.values()), "zscore": True, "none": False}[normalize]
        if num_candidates < 2 and compared:
            raise InputError(
                f"method.num_candidates={num_candidates} with reward.normalize={normalize}: one answer alone always "
                "scores the same, so nothing is learned; use at least 2 candidates or reward.normalize=none"
            )
        reading = check_choice("reward.advantage_in_reward", str(advantage_in_reward).lower(), "false", "literal")
        self.credit = credit if reading == "literal" else None
        self.judged = [name for name, part in self.parts.items() if part.judged]
        if reading == "literal":
            self.require("judged", "reward.advantage_in_reward=literal")
        self.needs = frozenset().union(*(p.needs for p in self.parts.values()))
        self.spans = {name: part.span for name, part in self.parts.items()}

    def require(self, attribute: Literal["judged", "differentiable"], option: str) -> list[str]:
        """Names of the parts with this attribute.

        Args:
            option: what needs them, for the message.

        Raises:
            InputError: there is none.
        """
        names = [name for name, part in self.parts.items() if getattr(part, attribute)]
        if not names:
            raise InputError(
                f"{option} needs a reward that is {attribute}, such as the {EXAMPLES[attribute]} reward: add it to "
                "reward=[...]"
            )
        return names

    def begin(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> None:
        """Have the judged parts begin as soon as the answers are known, see `Reward.begin`; changes no result."""
        for name in self.judged:
            part = self.parts[name]
            if isinstance(part, Reward):  # others need not know of it
                part.begin(prompts, texts)

    def __call__(self, rollout: Rollout) -> Scored:
        """Score every answer of a rollout."""
        return self.combine(rollout, self.score_each(rollout))

    def score_each(self, rollout: Rollout) -> dict[str, Tensor]:
        """Each reward of every answer, raw, (B,): of its own evidence alone."""
        return {name: _score(name, part, rollout) for name, part in self.parts.items()}

    def combine(self, rollout: Rollout, raw: Mapping[str, Tensor]) -> Scored:
        """Normalize, weight and sum; it reads no attention."""
        maxima = {name: group_max(value, rollout.num_candidates) for name, value in raw.items()}
        summands, spans = {}, dict(self.spans)
        for name, part in self.parts.items():
            value = raw[name]
            if self.normalize == "max" and part.max_normalized:
                value = over_max(value, maxima[name])
            if self.normalize == "zscore":
                value = zscore(value, rollout.num_candidates)
            summands[name] = part.weight * value
        if self.credit is not None:
            judged = torch.stack([raw[name] for name in self.judged]).sum(0)
            credited = self.credit(rollout, judged)
            valid = credited.mask_BT.float()
            mean = (credited.advantages_BT * valid).sum(1) / valid.sum(1).clamp(min=1)
            summands[ADVANTAGE], spans[ADVANTAGE] = mean.detach().where(~judged.isnan(), torch.nan), "name"
        total = nan_total(list(summands.values()), rollout.num_candidates)
        return Scored(total, rollout.num_candidates, raw, summands, maxima, spans, self.judged)


def _score(name: str, part: Reward, rollout: Rollout) -> Tensor:
    value = part(rollout)
    if value.shape != rollout.truncated_B.shape:
        shape = tuple(value.shape)
        raise InputError(f"reward.parts.{name} gave {shape} for {len(rollout.ids_BT)} answers: give one number each")
    return value.to(rollout.mask_BT.device, torch.float32, non_blocking=True)


def group_max(value_B: Tensor, num_candidates: int) -> Tensor:
    """The maximum over the answers to ONE query, per answer; NaN entries do not count."""
    groups = value_B.view(-1, num_candidates).nan_to_num(nan=float("-inf"))
    return groups.amax(1, keepdim=True).expand_as(groups).reshape(-1)


def over_max(value_B: Tensor, maximum_B: Tensor) -> Tensor:
    """n(x_g) of equation (13): x / max, 0/0 := 0."""
    return torch.where(maximum_B > 0, value_B / maximum_B.where(maximum_B > 0, 1.0), value_B * 0.0)


def zscore(value_B: Tensor, num_candidates: int) -> Tensor:
    """(x - mean) / population spread over the answers to one query; without spread 0, NaN stays NaN."""
    groups = value_B.view(-1, num_candidates)
    off = groups - groups.nanmean(1, keepdim=True)
    spread = off.square().nanmean(1, keepdim=True).sqrt()
    return torch.where(spread > 1e-6, off / spread.clamp(min=1e-6), off * 0.0).reshape(-1)


def nan_total(summands: Sequence[Tensor], num_candidates: int) -> Tensor:
    """The sum of what applies; NaN where nothing does.

    A part that fails for one answer but not for another one to the same query makes that answer's total NaN: summed as
    it is, it would compete with a part missing, which amounts to a zero.
    """
    stacked = torch.stack(list(summands))
    missing = stacked.isnan()
    groups = missing.view(len(stacked), -1, num_candidates)
    uneven = (groups & ~groups.all(-1, keepdim=True)).any(0).flatten()
    return torch.where(missing.all(0) | uneven, torch.nan, stacked.nansum(0))
