"""Every credit of conf/credit, found by its yaml: padding, the order of the queries, and unscorable answers."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from composed import CONF, composed
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch.nn.functional import pad

from umed.errors import InputError
from umed.methods.credit.base import Credit, check_credit
from umed.methods.credit.group import GroupCredit
from umed.methods.credit.reinforce_pp import ReinforceCredit
from umed.rollout import TrainingBatch
from umed.training import build_method

NAN = float("nan")
NAMES = sorted(p.stem for p in (CONF / "credit").glob("*.yaml"))
YAMLS = {name: OmegaConf.load(CONF / "credit" / f"{name}.yaml") for name in NAMES}  # composing takes seconds
CREDITS = dict(instantiate(OmegaConf.create({"objective": {"c1": 1.0}, "credit": YAMLS})).credit) | {
    "batch": GroupCredit(scale="batch"),
    "none": GroupCredit(scale="none"),
    "span": GroupCredit(scope="span"),
    "reinforce_pp group": ReinforceCredit(baseline="group", gamma=0.9),
}
LENGTHS = [3, 1, 2, 3, 2, 3, 1, 1]
REWARD = torch.tensor([1.0, 0.0, 0.5, 2.0, NAN, 1.0, 0.25, 3.0])
SPANS = {"boxes": REWARD.flip(0).where(~REWARD.isnan(), NAN), "name": REWARD}
PENALTY = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rollout(make_rollout: Callable[..., TrainingBatch]) -> TrainingBatch:
    """Four queries of two answers."""
    return make_rollout(4, 2, LENGTHS)


@pytest.fixture(params=CREDITS)
def credit(request: pytest.FixtureRequest) -> Credit:
    return CREDITS[request.param]


def test_there_are_credits() -> None:
    assert set(NAMES) >= {"gae", "group", "rloo", "reinforce_pp"}
    for credit in CREDITS.values():
        check_credit(credit)


def test_padding_changes_nothing(rollout: TrainingBatch, credit: Credit) -> None:
    wild = {"mask_BT": False, "values_BT": 7.0, "logp_BT": 7.0, "box_span_BT": True, "name_span_BT": True}
    wide = rollout.updated(**{n: pad(getattr(rollout, n), (0, 2), value=v) for n, v in wild.items()})
    one = credit(rollout, REWARD, PENALTY, SPANS)
    two = credit(wide, REWARD, pad(PENALTY, (0, 2), value=7.0), SPANS)
    for name in ("advantages_BT", "returns_BT", "mask_BT"):
        torch.testing.assert_close(getattr(two, name), pad(getattr(one, name), (0, 2)))
    assert one.advantages_BT.abs().sum() > 0


def test_the_order_of_the_queries_changes_nothing(rollout: TrainingBatch, credit: Credit) -> None:
    order = torch.tensor([2, 0, 3, 1])

    def sort(value: torch.Tensor) -> torch.Tensor:
        return value.view(4, 2, *value.shape[1:])[order].flatten(0, 1)

    one = credit(rollout, REWARD, PENALTY, SPANS)
    two = credit(rollout.take(order), sort(REWARD), sort(PENALTY), {n: sort(v) for n, v in SPANS.items()})
    torch.testing.assert_close(sort(one.advantages_BT), two.advantages_BT)
    torch.testing.assert_close(sort(one.returns_BT), two.returns_BT)


def test_an_answer_that_nothing_could_score_is_as_if_not_there(rollout: TrainingBatch, credit: Credit) -> None:
    """Whatever it says and however long it is."""
    other = {n: getattr(rollout, n).clone() for n in ("values_BT", "mask_BT")}
    penalty = PENALTY.clone()
    penalty[4], other["values_BT"][4], other["mask_BT"][4] = 50.0, -20.0, True
    one = credit(rollout, REWARD, PENALTY, SPANS)
    two = credit(rollout.updated(**other), REWARD, penalty, SPANS)
    torch.testing.assert_close(one.advantages_BT, two.advantages_BT)
    for done in (one, two):
        assert not done.mask_BT[4].any() and (done.advantages_BT[4] == 0).all() and done.returns_BT.isfinite().all()
        assert torch.equal(done.mask_BT[5], rollout.mask_BT[5])
    none = credit(rollout, torch.full((8,), NAN), PENALTY, {n: v * NAN for n, v in SPANS.items()})
    assert not none.mask_BT.any() and (none.advantages_BT == 0).all() and none.returns_BT.isfinite().all()


def test_a_value_target_is_given_where_a_critic_is_asked_for(rollout: TrainingBatch, credit: Credit) -> None:
    done = credit(rollout, REWARD, PENALTY, SPANS)
    assert credit.uses_values != torch.equal(done.returns_BT, rollout.values_BT * done.mask_BT)


MINE = """
from umed.methods.credit.base import Credit


class Plain(Credit):
    def assign(self, rollout, reward_B, penalty_BT, spans):
        return reward_B[:, None] - penalty_BT, rollout.values_BT


class Half:
    def __call__(self, rollout, reward_B, penalty_BT=None, spans=None):
        return rollout


class Abstract(Credit):
    pass
"""


def test_a_strangers_credit_is_a_file_and_a_key(
    rollout: TrainingBatch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_credits.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_credits", raising=False)

    def method(name: str) -> object:
        cfg = composed("~credit", f"+credit._target_=my_credits.{name}")
        return build_method(cfg, cfg.method)

    done = method("Plain").credit(rollout, REWARD)
    assert not done.mask_BT[4].any() and done.advantages_BT[3].tolist() == [2, 2, 2]
    with pytest.raises(InputError, match=r"credit \(my_credits.Half\) lacks uses_values, compares, by_span, metrics"):
        method("Half")
    with pytest.raises(InputError, match=r"credit=my_credits.Abstract: .*abstract.*assign"):
        method("Abstract")
