"""Vision Relevance Reward: equation (12), attention of the abnormality's tokens on the abnormal patches."""

from typing import Any, Literal

import torch
from torch import Tensor

from umed.errors import check_choice
from umed.rewards.base import Reward
from umed.rollout import Rollout


def attention_share(
    attention_BNP: Tensor,
    region_BP: Tensor,
    name_BN: Tensor,
    denominator: Literal["image", "all_keys", "printed"] = "image",
    over_name: Literal["mean", "sum"] = "mean",
    region: Literal["area", "touch"] = "area",
    lift: bool = False,
) -> Tensor:
    """Equation (12), and under `printed` equation (6) as it stands; (B,), differentiable.

    Args:
        attention_BNP: softmax attention of the name's tokens on the image tokens, mean over layers and heads.
        region_BP: w_j, NaN beyond the image's own tokens.
        name_BN: -1 where there is no token; an answer without any gets 0.
        denominator: R1; over_name: R2; region: R3; lift: divide by the region's share of the picture.
    """
    weight = region_BP.nan_to_num(0.0)
    if region == "touch":
        weight = (weight > 0).to(weight.dtype)
    on_region = (attention_BNP * weight[:, None]).sum(-1)
    parts = {"image": attention_BNP.sum(-1), "all_keys": torch.ones_like(on_region), "printed": on_region}
    whole = parts[denominator]
    share = on_region / torch.where(whole > 0, whole, 1.0)
    if lift:
        picture = (~region_BP.isnan()).sum(-1).clamp(min=1)
        share = share / (weight.sum(-1) / picture).clamp(min=1e-6)[:, None]
    named = (name_BN >= 0).to(share.dtype)
    total = (share * named).sum(-1)
    return total / named.sum(-1).clamp(min=1) if over_name == "mean" else total


class VisionRelevanceReward(Reward):
    """r_att: 0 when the answer does not name the abnormality; does not apply where the picture has none.

    The sampler and the policy decide which attention is read (readings R4 `row`, R5 `layers` and `heads`).

    Args:
        denominator, over_name, region, lift: readings R1-R3, see `attention_share`.
        weight: factor in the sum of equation (13).
    """

    needs = frozenset({"attention"})
    differentiable = True

    def __init__(
        self,
        denominator: Literal["image", "all_keys", "printed"] = "image",
        over_name: Literal["mean", "sum"] = "mean",
        region: Literal["area", "touch"] = "area",
        lift: bool = False,
        weight: float = 1.0,
    ) -> None:
        where = "reward.parts.vision_relevance"
        check_choice(f"{where}.denominator", denominator, "image", "all_keys", "printed")
        check_choice(f"{where}.over_name", over_name, "mean", "sum")
        check_choice(f"{where}.region", region, "area", "touch")
        self.reading: Any = {"denominator": denominator, "over_name": over_name, "region": region, "lift": lift}
        self.weight = weight

    def __call__(self, rollout: Rollout) -> Tensor:
        """(B,) float32; in [0, 1] with the default reading, NaN for a picture known to be normal."""
        shares = self.share(rollout.attention_BNP, rollout).float()
        normal = torch.tensor([not record.boxes for record in rollout.records])
        return shares.masked_fill(normal[rollout.group_B].to(shares.device), torch.nan)

    def share(self, attention_BNP: Tensor, rollout: Rollout) -> Tensor:
        """The same from fresh attention, with its gradient (reading R8 `differentiable`)."""
        region_BP, name_BN = (t.to(attention_BNP.device) for t in (rollout.region_BP, rollout.name_BN))
        return attention_share(attention_BNP, region_BP, name_BN, **self.reading)
