"""Whatever the budget, answers, scores and gradients are the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from umed.chat import Prompt
from umed.engine.budget import Budget, Part
from umed.engine.engine import Engine
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.rollout import Answers

G, T = 3, 6


@pytest.fixture
def prompts(make_prompts: Callable[..., list[Prompt]]) -> list[Prompt]:
    return make_prompts(5)


def count_passes(policy: Policy) -> list[int]:
    """Grows by the number of rows of each pass over prompts."""
    passes: list[int] = []
    read = policy.reader._batch_with_places
    policy.reader._batch_with_places = lambda few: passes.append(len(few)) or read(few)  # type: ignore[method-assign, func-returns-value]
    return passes


def test_answers_do_not_depend_on_the_cut(policy: Callable[..., Policy], prompts: list[Prompt]) -> None:
    pi = policy()
    passes = count_passes(pi)
    whole, *cut = (Engine(pi, Budget(tokens)).sample(prompts, G, T, noise=Noise(0, 4)) for tokens in (None, 20, 4))
    assert passes[0] == 5 and len(passes) > 1 + 2 * 5 and max(passes[1:]) < 5
    for answers in cut:
        assert torch.equal(answers.ids_BT, whole.ids_BT) and torch.equal(answers.mask_BT, whole.mask_BT)
        assert torch.equal(answers.truncated_B, whole.truncated_B)
        torch.testing.assert_close(answers.logp_BT, whole.logp_BT, atol=1e-5, rtol=0)


def sampled(policy: Policy, prompts: list[Prompt]) -> Answers:
    """Of different lengths."""
    answers = policy.sample(prompts, G, T, noise=Noise(0))
    lengths = torch.tensor([1 + (5 * b) % T for b in range(len(answers.ids_BT))])
    answers.mask_BT = torch.arange(answers.ids_BT.shape[1]) < lengths[:, None]
    return answers


def test_scores_do_not_depend_on_the_cut(policy: Callable[..., Policy], prompts: list[Prompt]) -> None:
    pi = policy()
    torch.nn.init.normal_(pi.value_head.layers[-1].weight)
    answers = sampled(pi, prompts)
    names = torch.tensor([[1, -1], [1, 2], [0, 1]]).repeat(5, 1).where(answers.mask_BT[:, :2], -1)
    whole, *cut = (
        Engine(pi, Budget(tokens)).score(prompts, answers.ids_BT, answers.mask_BT, names) for tokens in (None, 20, 4)
    )
    assert whole.values_BT.abs().max() > 0.1 and whole.attention_BNP.abs().max() > 0
    mask = answers.mask_BT
    for scores in cut:
        for name in ("logp_BT", "entropy_BT", "values_BT"):
            found, expected = getattr(scores, name), getattr(whole, name)
            assert found.shape == expected.shape
            torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=0)
        torch.testing.assert_close(scores.attention_BNP, whole.attention_BNP, atol=1e-6, rtol=0)


def test_prompts_that_were_read_are_not_read_again(policy: Callable[..., Policy], prompts: list[Prompt]) -> None:
    pi = policy()
    engine, passes = Engine(pi), count_passes(pi)
    expected = engine.sample(prompts, G, T, noise=Noise(0))
    scores = engine.score(prompts, expected.ids_BT, expected.mask_BT)
    assert passes == [5, 5]
    prefix = engine.read_prompts(prompts, G, T)
    assert prefix is not None
    for _ in range(2):  # it is kept as it is
        answers = engine.sample(prompts, G, T, noise=Noise(0), prefix=prefix)
        assert torch.equal(answers.ids_BT, expected.ids_BT)
        again = engine.score(prompts, answers.ids_BT, answers.mask_BT, prefix=prefix)
        torch.testing.assert_close(again.logp_BT, scores.logp_BT, atol=1e-5, rtol=0)
    assert passes == [5, 5, 5]
    assert Engine(pi, Budget(20)).read_prompts(prompts, G, T) is None  # it does not fit in one part


def gradients(
    engine: Engine, prompts: list[Prompt], answers: Answers, fail: int = 0
) -> tuple[dict[str, Tensor], Tensor]:
    """Of a sum over answers; the first `fail` backward passes run out of memory when they are done."""
    policy, mask, left = engine.policy, answers.mask_BT, [fail]

    def loss_of(part: Part) -> tuple[Tensor, dict[str, Tensor]]:
        rows = part.rows(G)
        few = [prompts[q] for q in part.queries]
        scores = policy.score(few, answers.ids_BT[rows, : part.width], mask[rows, : part.width])
        loss = (scores.logp_BT * mask[rows, : part.width]).sum() / mask.sum()
        return loss, {"loss": loss}

    def run_backward(loss: Tensor) -> None:
        loss.backward()
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("out")

    numbers = engine.backward(prompts, mask, loss_of, run_backward)
    found = {n: p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}
    policy.zero_grad()
    return found, numbers["loss"]


def test_gradients_do_not_depend_on_the_cut_nor_on_a_try_that_failed(
    policy: Callable[..., Policy], prompts: list[Prompt]
) -> None:
    pi = policy()
    answers = sampled(pi, prompts)
    widest = max(len(p.inputs["input_ids"]) for p in prompts)
    (whole, loss), *cut = (
        gradients(Engine(pi, Budget(tokens)), prompts, answers, fail)
        for tokens, fail in ((None, 0), (2 * widest + 2 * G * T, 0), (widest + T, 0), (None, 1))
    )
    assert len(whole) > 10 and max(float(g.abs().max()) for g in whole.values()) > 0.1
    for found, other in cut:
        assert found.keys() == whole.keys()
        torch.testing.assert_close(other, loss, atol=1e-6, rtol=0)
        assert max(float((found[n] - whole[n]).abs().max()) for n in whole) < 1e-6
