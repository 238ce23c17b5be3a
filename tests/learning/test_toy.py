"""The reward goes up: the real sampler, credit, objective and optimizer on a random tiny model."""

from collections.abc import Callable
from statistics import mean
from string import ascii_letters

import pytest
import torch
from torch import Tensor

from umed.chat import Prompt
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.credit.gae import GaeCredit
from umed.methods.credit.group import GroupCredit
from umed.methods.credit.reinforce_pp import ReinforceCredit
from umed.methods.credit.rloo import RlooCredit
from umed.methods.objective import ClippedObjective
from umed.models.policy import Policy
from umed.rewards.base import Reward
from umed.rewards.total import TotalReward
from umed.rollout import Rollout

UPDATES, FIRST, LAST = 24, 3, 5


class StartsWithLetter(Reward):
    """1 when the answer's first token is a single letter, else 0; about one random token in six is."""

    max_normalized = False

    def __init__(self, policy: Policy) -> None:
        self.wanted = torch.tensor([policy.processor.tokenizer.convert_tokens_to_ids(c) for c in ascii_letters])

    def __call__(self, rollout: Rollout) -> Tensor:
        return torch.isin(rollout.ids_BT[:, 0], self.wanted).float()


@pytest.mark.parametrize(
    "credit",
    [
        pytest.param(GaeCredit(), id="gae"),
        pytest.param(GroupCredit(), id="group", marks=pytest.mark.slow),
        pytest.param(RlooCredit(), id="rloo", marks=pytest.mark.slow),
        pytest.param(ReinforceCredit(baseline="group"), id="reinforce_pp", marks=pytest.mark.slow),
    ],
)
def test_the_reward_goes_up_and_the_entropy_stays(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], train: Callable, credit: object
) -> None:
    pi = policy()  # every weight trains: a random embedding leaves an adapter too little room
    method = AbnormalAwareRewarding(
        lambda **_: pi,
        seed=0,
        rewards=TotalReward({"relevance": StartsWithLetter(pi)}, 8),
        credit=credit,
        objective=ClippedObjective,
        num_candidates=8,
        num_epochs=2,
        num_minibatches=2,
        max_new_tokens=3,
        lr=1e-3,
        critic_lr=3e-3,
        batch_size=4,
        steps=UPDATES,
        schedule="constant",
        warmup=0.0,
    )
    logged = train(method, [make_prompts(4, seed=i) for i in range(UPDATES)])
    rewards = [line["reward/total"] for line in logged]
    assert mean(rewards[-LAST:]) > mean(rewards[:FIRST]) + 0.4
    assert min(line["policy/entropy"] for line in logged) > 1.0
    assert max(line["policy/kl"] for line in logged) < 0.5
