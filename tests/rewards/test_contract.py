"""Every reward of conf/reward, found by its yaml, and rewards from a user's own file."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from composed import CONF, composed
from contract import (
    answers,
    answers_to_controls,
    keeps_the_contract,
    keeps_the_contract_on_controls,
    survives_nothing,
)
from hydra.utils import instantiate
from omegaconf import DictConfig

from umed.chat import Prompt
from umed.errors import InputError
from umed.rewards.base import Reward
from umed.rewards.localization import LocalizationReward
from umed.rewards.total import TotalReward
from umed.rollout import Rollout
from umed.training import build_method

NAMES = sorted(p.stem for p in (CONF / "reward").glob("*.yaml"))
MINE = '''
import torch
from umed.rewards.base import Reward


class Short(Reward):
    """Pays for short answers; the gold answer is at best as short as others."""

    gold_ties = True

    def __call__(self, rollout):
        return torch.tensor([float(len(text) < 1000) for text in rollout.texts], dtype=torch.float64)


class Half:
    weight = 1.0

    def __call__(self, rollout):
        return torch.zeros(len(rollout.texts))


class NoShare(Short):
    differentiable = True


class Abstract(Reward):
    pass
'''


def rewards(cfg: DictConfig) -> dict[str, Reward]:
    return dict(instantiate(cfg.reward.parts))


@pytest.fixture(scope="module")
def rollout(make_prompts: Callable[..., list[Prompt]], make_rollout: Callable[..., Rollout]) -> Rollout:
    return answers(make_prompts(3), make_rollout)


@pytest.fixture(scope="module")
def of_controls(make_control: Callable[..., Prompt], make_rollout: Callable[..., Rollout]) -> Rollout:
    return answers_to_controls([make_control(0), make_control(1)], make_rollout)


@pytest.fixture
def my_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rewards.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)


def test_every_reward_keeps_the_contract(
    rollout: Rollout, of_controls: Rollout, make_rollout: Callable[..., Rollout]
) -> None:
    assert {"relevance", "localization", "vision_relevance"} <= set(NAMES)
    parts = rewards(composed(f"reward=[{','.join(NAMES)}]"))
    assert parts.keys() >= set(NAMES), "a yaml's name is its reward's"
    for key, reward in parts.items():
        keeps_the_contract(key, reward, rollout)
        keeps_the_contract_on_controls(reward, of_controls)
        survives_nothing(reward, make_rollout)


@pytest.mark.parametrize("shape", ["giou", "distance"])
def test_every_shape_of_the_localization_keeps_the_contract(
    rollout: Rollout, make_rollout: Callable[..., Rollout], shape: str
) -> None:
    reward = LocalizationReward(shape=shape)
    keeps_the_contract("localization", reward, rollout)
    survives_nothing(reward, make_rollout)


def test_the_papers_sum_prefers_the_gold_answer(rollout: Rollout) -> None:
    total = TotalReward(rewards(composed()), 5)(rollout).total_B.view(3, 5)
    assert (total[:, :1] > total[:, 1:]).all()
    torch.testing.assert_close(total[:, 0], torch.full((3,), 3.0))  # 1 for each of the three


def test_the_papers_sum_prefers_the_gold_answer_on_normal_pictures(of_controls: Rollout) -> None:
    """1 for relevance and 1 for drawing nothing; where attention does not apply, the answers stay in the loss."""
    scored = TotalReward(rewards(composed()), 5)(of_controls)
    total = scored.total_B.view(2, 5)
    torch.testing.assert_close(total[:, 0], torch.full((2,), 2.0))
    assert scored.raw["vision_relevance"].isnan().all() and total.isfinite().all()
    torch.testing.assert_close(total[:, 1], torch.ones(2))  # the right words, and a box
    assert (total[:, 2] < 0.15).all(), "an abnormality with a box"
    assert (total[:, 3] < 1.15).all() and (total[:, 4] == 1).all()


@pytest.mark.usefixtures("my_file")
def test_a_strangers_reward_is_a_file_and_a_key(rollout: Rollout, make_rollout: Callable[..., Rollout]) -> None:
    """Outside the package, its gold answer only ties, and its numbers are of another type."""
    cfg = composed("+reward.parts.mine._target_=my_rewards.Short")
    method = build_method(cfg, cfg.method)
    mine = method.rewards.parts["mine"]
    keeps_the_contract("mine", mine, rollout)
    survives_nothing(mine, make_rollout)
    scored = method.rewards(rollout)
    assert scored.raw["mine"].dtype == torch.float32 and "reward/mine_normalized" in scored.means()


@pytest.mark.usefixtures("my_file")
@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("my_rewards.NoShare", r"reward.parts.mine \(my_rewards.NoShare\) lacks share"),
        ("my_rewards.Half", r"reward.parts.mine \(my_rewards.Half\) lacks needs, max_normalized"),
        ("my_rewards.Abstract", "reward.parts.mine=my_rewards.Abstract: .*abstract.*__call__"),
        ("my_rewards.Nowhere", "reward.parts.mine=my_rewards.Nowhere: .*Nowhere"),
        ("no_such_file.Reward", "reward.parts.mine=no_such_file.Reward: .*no_such_file"),
        ("umed.rewards.localization.LocalizationReward, match: nearest", "match=nearest"),
        ("umed.rewards.localization.LocalizationReward, matches: best", "reward.parts.mine=.*matches"),
    ],
)
def test_what_is_no_reward_is_told_in_one_line(target: str, told: str) -> None:
    cfg = composed(f"+reward.parts.mine={{_target_: {target}}}")
    with pytest.raises(Exception, match=told) as error:
        build_method(cfg, cfg.method)
    from umed.tasks import plain

    line = plain(error.value)
    assert (line is not None and "\n" not in line and isinstance(error.value, InputError)) or error.value.__cause__
