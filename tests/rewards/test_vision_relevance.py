"""Equations (6) and (12), readings R1-R3, against plain numpy."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from umed.rewards.vision_relevance import VisionRelevanceReward, attention_share
from umed.rollout import Rollout

RNG = np.random.default_rng(0)
# softmax attention over text and image keys; the image columns are a part of each row
ATTENTION = RNG.dirichlet(np.ones(9), size=(2, 3))[..., :5]
REGION = np.array([[0.0, 1.0, 0.25, 0.0, 0.5], [1.0, 0.0, 0.0, np.nan, np.nan]])
ATTENTION[1, :, 3:] = 0  # the second picture has three tokens
NAMES = np.array([[1, 2, 3], [4, -1, -1]])
ATTENTION[1, 1:] = 0


def ours(**reading: object) -> np.ndarray:
    tensors = (torch.tensor(ATTENTION), torch.tensor(REGION), torch.tensor(NAMES))
    return attention_share(*tensors, **reading).numpy()


def by_hand(denominator: str, over_name: str, region: str, lift: bool) -> list[float]:
    """Plain loops over i in N and j in P."""
    found = []
    for b, patches in enumerate((5, 3)):
        shares = []
        for i in range(3):
            if NAMES[b, i] < 0:
                continue
            w = [REGION[b, j] if region == "area" else float(REGION[b, j] > 0) for j in range(patches)]
            on_region = sum(w[j] * ATTENTION[b, i, j] for j in range(patches))
            whole = sum(ATTENTION[b, i, j] for j in range(patches)) if denominator == "image" else 1.0
            share = on_region / (on_region if denominator == "printed" else whole)
            shares.append(share / (sum(w) / patches) if lift else share)
        found.append(sum(shares) / (len(shares) if over_name == "mean" else 1))
    return found


@pytest.mark.parametrize("denominator", ["image", "all_keys", "printed"])
@pytest.mark.parametrize("over_name", ["mean", "sum"])
@pytest.mark.parametrize("region", ["area", "touch"])
@pytest.mark.parametrize("lift", [False, True])
def test_every_reading_by_hand(denominator: str, over_name: str, region: str, lift: bool) -> None:
    reading = {"denominator": denominator, "over_name": over_name, "region": region, "lift": lift}
    np.testing.assert_allclose(ours(**reading), by_hand(**reading), rtol=1e-6)


def test_the_printed_form_is_the_number_of_names_tokens_whatever_is_seen() -> None:
    """The trap of reading R1: a constant, so no signal."""
    np.testing.assert_allclose(ours(denominator="printed", over_name="sum"), [3, 1])


def test_the_share_is_one_for_the_whole_picture_and_in_between_otherwise() -> None:
    whole = np.where(np.isnan(REGION), np.nan, 1.0)
    tensors = (torch.tensor(ATTENTION), torch.tensor(whole), torch.tensor(NAMES))
    np.testing.assert_allclose(attention_share(*tensors), [1, 1])
    assert ((ours() > 0) & (ours() < 1)).all()


def test_moving_mass_into_the_region_raises_it() -> None:
    moved = ATTENTION.copy()
    moved[0, :, 1] += moved[0, :, 0]
    moved[0, :, 0] = 0
    after = attention_share(torch.tensor(moved), torch.tensor(REGION), torch.tensor(NAMES)).numpy()
    assert after[0] > ours()[0] and after[1] == ours()[1]


def test_an_answer_that_names_nothing_gets_zero_not_nan() -> None:
    nobody = torch.full((2, 3), -1)
    for reading in ({}, {"over_name": "sum"}, {"denominator": "printed"}, {"denominator": "all_keys"}, {"lift": True}):
        found = attention_share(torch.zeros(2, 3, 5), torch.tensor(REGION), nobody, **reading)
        assert found.tolist() == [0.0, 0.0]
    empty = attention_share(torch.zeros(2, 0, 5), torch.tensor(REGION), nobody[:, :0])
    assert empty.tolist() == [0.0, 0.0]


def test_a_longer_name_is_not_worth_more_by_default() -> None:
    attention = torch.tensor(ATTENTION[:1, :1]).expand(-1, 3, -1)
    region = torch.tensor(REGION[:1])
    short, long = torch.tensor([[1, -1, -1]]), torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(attention_share(attention, region, short), attention_share(attention, region, long))
    sums = [attention_share(attention, region, n, over_name="sum").item() for n in (short, long)]
    assert sums[1] == pytest.approx(3 * sums[0])


def test_it_is_differentiable_and_finite_without_any_attention() -> None:
    attention = torch.zeros(2, 3, 5, requires_grad=True)
    attention_share(attention, torch.tensor(REGION), torch.tensor(NAMES)).sum().backward()
    assert attention.grad.isfinite().all()
    live = torch.tensor(ATTENTION, requires_grad=True)
    attention_share(live, torch.tensor(REGION), torch.tensor(NAMES)).sum().backward()
    assert live.grad[0, 0, 1] > 0 > live.grad[0, 0, 0]


def test_the_reward_reads_the_gold_region_of_its_rollout(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2)
    expected = attention_share(rollout.attention_BNP, rollout.region_BP, rollout.name_BN)
    found = VisionRelevanceReward()(rollout)
    assert found.shape == (4,) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    assert VisionRelevanceReward.needs == {"attention"}


def test_it_does_not_apply_to_a_normal_picture(make_rollout: Callable[..., Rollout]) -> None:
    """The gradient of its share is then 0, for every reading."""
    rollout = make_rollout(2, 2)
    first, second = rollout.prompts
    normal = rollout.updated(prompts=[first, replace(second, record=replace(second.record, boxes=()))])
    normal.region_BP[2:] = 0
    for denominator in ("image", "all_keys", "printed"):
        reward = VisionRelevanceReward(denominator, lift=True)
        found = reward(normal)
        assert found.isnan().tolist() == [False, False, True, True]
        torch.testing.assert_close(found[:2], reward(rollout)[:2])
        attention = normal.attention_BNP.clone().requires_grad_()
        reward.share(attention, normal)[2:].sum().backward()
        assert (attention.grad == 0).all()
