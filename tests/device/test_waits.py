"""How often the host waits for a GPU, which keeps it from running ahead: bounds for a token, a pass and an update.

Waits inside transformers count too: for Qwen3-VL a pass over prompts waits 6 times (2 to see whether all is visible,
2 to check the places of the image tokens, 2 where a layer adds features), and twice more in the backward pass.
"""

from collections.abc import Callable
from functools import partial

import lightning as L
import pytest
import torch
from on_device import fit
from pretend_gpu import Waits, count_waits

from umed.chat import Prompt
from umed.methods.aar import AbnormalAwareRewarding
from umed.methods.base import Method
from umed.methods.credit.gae import GaeCredit
from umed.methods.kl import Kl
from umed.methods.objective import ClippedObjective
from umed.methods.sft import AbnormalAwareTuning
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.rewards.localization import LocalizationReward
from umed.rewards.total import TotalReward
from umed.rewards.vision_relevance import VisionRelevanceReward
from umed.synthetic.tiny_models import family_names

LORA = {"r": 4, "init_lora_weights": False}
PER_PASS = 7  # of given answers
PER_UPDATE = PER_PASS + 5  # the backward pass 3, which tokens count, whether all is finite
PER_BATCH = 33  # of rewarding, besides decoding and updates: rollout, reference, rewards, what is logged
Make, Prompts = Callable[..., Policy], Callable[..., list[Prompt]]


def test_a_token_in_eight_is_waited_for(pretend: torch.device, policy: Make, make_prompts: Prompts) -> None:
    pi, prompts = policy(adapter=LORA, device=str(pretend)), make_prompts(2)
    pi.read_prompts(prompts)  # encodes the pictures
    counts = []
    for length in (8, 24):
        with count_waits() as waits:
            answers = pi.sample(prompts, 2, length, noise=Noise(1))
        assert answers.ids_BT.shape[1] == length
        counts.append(waits.total())
    assert (counts[1] - counts[0]) / (24 - 8) <= 1 / 8
    assert counts[0] <= PER_PASS + 3


def test_a_scoring_pass(pretend: torch.device, policy: Make, make_prompts: Prompts) -> None:
    waits = waits_of_scoring(pretend, policy, make_prompts)
    assert waits.total() <= PER_PASS, waits


@pytest.mark.slow
@pytest.mark.parametrize("family", family_names(), indirect=True)
def test_a_scoring_pass_of_every_family(
    family: str, pretend: torch.device, policy: Make, make_prompts: Prompts
) -> None:
    waits = waits_of_scoring(pretend, policy, make_prompts)
    assert waits.total() <= PER_PASS, waits


def waits_of_scoring(device: torch.device, policy: Make, make_prompts: Prompts) -> Waits:
    """Of a pass over prompts whose pictures have been encoded."""
    pi, prompts = policy(adapter=LORA, device=str(device)), make_prompts(2)
    ids, mask = torch.ones(4, 5, dtype=torch.long, device=device), torch.ones(4, 5, dtype=torch.bool, device=device)
    pi.read_prompts(prompts)
    with torch.no_grad(), count_waits() as waits:
        pi.score(prompts, ids, mask)
    return waits


class CountBatch(L.Callback):
    """Counts from the start of the second and last batch to the end of the epoch: what is logged is included."""

    def __init__(self) -> None:
        self.counting, self.waits = count_waits(), Waits()

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: object, index: int) -> None:
        if index == 1:
            self.waits = self.counting.__enter__()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.counting.__exit__(None, None, None)


def count_second_batch(method: Method, prompts: list[Prompt], device: torch.device) -> Waits:
    count = CountBatch()
    fit(method, [prompts] * 2, device, callbacks=[count])
    return count.waits


def test_a_step_of_tuning(pretend: torch.device, policy: Make, make_prompts: Prompts) -> None:
    build = partial(policy, adapter=LORA)
    method = AbnormalAwareTuning(build, seed=0, lr=1e-3, batch_size=2, steps=2)
    waits = count_second_batch(method, make_prompts(2, (56, 56)), pretend)
    assert 0 < waits.total() <= PER_UPDATE, waits


def test_a_batch_of_rewarding(pretend: torch.device, policy: Make, make_prompts: Prompts) -> None:
    """With an update more it waits as often more as an update may, and no more often for longer lists of numbers."""
    parts = {"localization": LocalizationReward(), "vision_relevance": VisionRelevanceReward()}
    method = AbnormalAwareRewarding(
        partial(policy, adapter=LORA),
        seed=0, lr=1e-3, batch_size=2, steps=2, num_candidates=2, max_new_tokens=2, num_epochs=2, num_minibatches=1,
        looking="answer", rewards=TotalReward(parts, 2), credit=GaeCredit(), objective=ClippedObjective, kl=Kl(0.1),
    )  # fmt: skip
    updates, update = [], method.update

    def count_update(*part: object) -> object:
        with count_waits() as waits:
            result = update(*part)
        updates.append(waits.total())
        return result

    method.update = count_update  # type: ignore[method-assign]
    waits = count_second_batch(method, make_prompts(2, (56, 56)), pretend)
    assert len(updates) == 4 and 0 < max(updates) <= PER_UPDATE
    assert 0 < waits.total() - sum(updates[2:]) <= PER_BATCH, waits
    assert not [where for _, where in waits if where.startswith(("rewards/", "methods/credit/base"))]
