"""The summed reward R_g, equation (13), with its named parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from umed.errors import InputError, check_choice, check_positive
from umed.rollout import Rollout


@dataclass(frozen=True, slots=True)
class Scored:
    """R_g and what it is made of; NaN in a part = does not apply, NaN in the total = nothing applied."""

    total_B: Tensor
    raw: dict[str, Tensor]
    summands: dict[str, Tensor]  # normalized and weighted; they sum to the total
    maxima: dict[str, Tensor]  # over the answers to one query, per answer

    def means(self) -> dict[str, float]:
        """`reward/*`: raw means, normalized means and how often a part did not apply."""
        stats = {"reward/total": _mean(self.total_B)}
        stats["reward/unscored"] = self.total_B.isnan().float().mean().item()
        for name, value in self.raw.items():
            stats[f"reward/{name}"] = _mean(value)
            stats[f"reward/{name}_normalized"] = _mean(self.summands[name])
        if "relevance" in self.raw:
            stats["rollout/judge_failed"] = self.raw["relevance"].isnan().float().mean().item()
        return stats


class TotalReward:
    """R_g = r_LLM + n(r_loc) + n(r_att), equation (13).

    Args:
        parts: the rewards by name.
        num_candidates: G; the paper's normalization needs at least two answers to compare.
        normalize: reading R6, `max` over the answers to one query (0/0 := 0); `zscore`, every reward against the
            answers to one query, in its own spread, before the sum (0/0 := 0); or `none`.
        advantage_in_reward: reading R7, `literal` adds a detached advantage of r_LLM to the reward.
    """

    def __init__(
        self,
        parts: Mapping[str, Any],
        num_candidates: int,
        normalize: Literal["max", "zscore", "none"] = "max",
        advantage_in_reward: Literal["false", "literal"] = "false",
    ) -> None:
        check_positive("method.num_candidates", num_candidates)
        if not parts:
            raise InputError("reward=[]: choose at least one of relevance, localization, vision_relevance")
        alone = {"max": any(p.max_normalized for p in parts.values()), "zscore": True}.get(normalize, False)
        if num_candidates < 2 and alone:
            raise InputError(
                f"method.num_candidates={num_candidates} with reward.normalize={normalize}: one answer alone always "
                "scores the same, so nothing is learned; use at least 2 candidates or reward.normalize=none"
            )
        if advantage_in_reward == "literal" and "relevance" not in parts:
            raise InputError("reward.advantage_in_reward=literal needs the relevance reward: add it to reward=[...]")
        self.parts = dict(parts)
        self.normalize = check_choice("reward.normalize", normalize, "max", "zscore", "none")
        said = str(advantage_in_reward).lower()
        self.literal = check_choice("reward.advantage_in_reward", said, "false", "literal") == "literal"
        self.needs = frozenset().union(*(p.needs for p in self.parts.values()))

    def __call__(self, rollout: Rollout, credit: Callable[[Rollout, Tensor], Rollout]) -> Scored:
        """Score every answer of a rollout; `credit` is used by reading R7 `literal` only."""
        raw = {name: part(rollout) for name, part in self.parts.items()}
        summands, maxima = {}, {}
        for name, part in self.parts.items():
            value, best = raw[name], group_max(raw[name], rollout.num_candidates)
            maxima[name] = best
            if self.normalize == "max" and part.max_normalized:
                value = over_max(value, best)
            if self.normalize == "zscore":
                value = zscore(value, rollout.num_candidates)
            summands[name] = part.weight * value
        if self.literal:
            first = credit(rollout, raw["relevance"])
            valid = first.mask_BT.float()
            mean = ((first.advantages_BT * valid).sum(1) / valid.sum(1).clamp(min=1)).detach().cpu()
            summands["advantage"] = mean.where(~raw["relevance"].isnan(), torch.nan)
        return Scored(nan_total(list(summands.values()), rollout.num_candidates), raw, summands, maxima)


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


def nan_total(summands: list[Tensor], num_candidates: int) -> Tensor:
    """The sum of what applies; NaN where nothing does.

    A part that fails for one answer but not for another one to the same query makes that answer's total NaN: summed as
    it is, it would compete with a part missing, which is a zero in disguise.
    """
    stacked = torch.stack(summands)
    missing = stacked.isnan()
    groups = missing.view(len(summands), -1, num_candidates)
    uneven = (groups & ~groups.all(-1, keepdim=True)).any(0).flatten()
    return torch.where(missing.all(0) | uneven, torch.nan, stacked.nansum(0))


def _mean(value: Tensor) -> float:
    return value.nanmean().item()
