"""What holds for every credit: padding, the order of the queries, and answers that nothing could score."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import pad

from umed.methods.credit.gae import GaeCredit
from umed.methods.credit.group import GroupCredit
from umed.methods.credit.reinforce_pp import ReinforceCredit
from umed.methods.credit.rloo import RlooCredit
from umed.rollout import Rollout

NAN = float("nan")
CREDITS = {
    "gae": GaeCredit(gamma=0.9),
    "group": GroupCredit(),
    "batch": GroupCredit(scale="batch"),
    "none": GroupCredit(scale="none"),
    "rloo": RlooCredit(),
    "reinforce_pp": ReinforceCredit(gamma=0.9),
    "reinforce_pp group": ReinforceCredit(baseline="group"),
}
LENGTHS = [3, 1, 2, 3, 2, 3, 1, 1]
REWARD = torch.tensor([1.0, 0.0, 0.5, 2.0, NAN, 1.0, 0.25, 3.0])


@pytest.fixture
def rollout(make_rollout: Callable[..., Rollout]) -> Rollout:
    """Four queries of two answers, with a penalty on every token."""
    plain = make_rollout(4, 2, LENGTHS)
    penalty = torch.rand(plain.mask_BT.shape, generator=torch.Generator().manual_seed(0))
    return plain.updated(penalty_BT=penalty)


@pytest.fixture(params=CREDITS)
def credit(request: pytest.FixtureRequest) -> Any:
    return CREDITS[request.param]


def test_padding_changes_nothing(rollout: Rollout, credit: Any) -> None:
    wild = {"mask_BT": False, "penalty_BT": 7.0, "values_BT": 7.0, "box_span_BT": True, "name_span_BT": True}
    wide = rollout.updated(**{n: pad(getattr(rollout, n), (0, 2), value=v) for n, v in wild.items()})
    one, two = credit(rollout, REWARD), credit(wide, REWARD)
    for name in ("advantages_BT", "returns_BT", "mask_BT"):
        torch.testing.assert_close(getattr(two, name), pad(getattr(one, name), (0, 2)))
    assert one.advantages_BT.abs().sum() > 0


def test_the_order_of_the_queries_changes_nothing(rollout: Rollout, credit: Any) -> None:
    order = torch.tensor([2, 0, 3, 1])
    one, two = credit(rollout, REWARD).take(order), credit(rollout.take(order), REWARD.view(4, 2)[order].flatten())
    torch.testing.assert_close(one.advantages_BT, two.advantages_BT)
    torch.testing.assert_close(one.returns_BT, two.returns_BT)


def test_an_answer_that_nothing_could_score_is_as_if_not_there(rollout: Rollout, credit: Any) -> None:
    """Whatever it says and however long it is."""
    other = {n: getattr(rollout, n).clone() for n in ("penalty_BT", "values_BT", "mask_BT")}
    other["penalty_BT"][4], other["values_BT"][4], other["mask_BT"][4] = 50.0, -20.0, True
    one, two = credit(rollout, REWARD), credit(rollout.updated(**other), REWARD)
    torch.testing.assert_close(one.advantages_BT, two.advantages_BT)
    for done in (one, two):
        assert not done.mask_BT[4].any() and (done.advantages_BT[4] == 0).all() and done.reward_B[4] == 0
        assert torch.equal(done.mask_BT[5], rollout.mask_BT[5])


def test_nothing_scorable_at_all_is_finite_and_zero(rollout: Rollout, credit: Any) -> None:
    done = credit(rollout, torch.full((8,), NAN))
    assert not done.mask_BT.any() and (done.advantages_BT == 0).all() and done.returns_BT.isfinite().all()
