import numpy as np
import pytest
import torch
from torch import Tensor

from umed.models import logprobs
from umed.models.logprobs import answer_scores, distribution


def numpy_scores(logits: Tensor, ids: Tensor, temperature: float, suppressed: list[int]) -> tuple[np.ndarray, ...]:
    """log p of the tokens and equation (10), and their gradients by the logits, in double precision."""
    z = logits.detach().double().numpy() / temperature
    z[:, suppressed] = -np.inf
    z -= z.max(1, keepdims=True)
    logp = z - np.log(np.exp(z).sum(1, keepdims=True))
    p = np.exp(logp)
    logp[:, suppressed] = 0  # 0 log 0 := 0
    entropy = -(p * logp).sum(1)
    taken = np.eye(p.shape[1])[ids]
    by_entropy = -p * (logp + entropy[:, None]) / temperature
    return (logp * taken).sum(1), entropy, (taken - p) / temperature, by_entropy


def identity(x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_distribution_against_numpy(temperature: float) -> None:
    logits = torch.randn(6, 7, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([0, 2, 3, 5, 6, 0])
    logp = distribution(logits, temperature, (1, 4, 9))  # the head has no row for the last
    expected, _, _, _ = numpy_scores(logits, ids, temperature, [1, 4])
    np.testing.assert_allclose(logp.gather(1, ids[:, None])[:, 0], expected, atol=1e-6)
    assert (logp[:, [1, 4]].exp() == 0).all()
    torch.testing.assert_close(logp.exp().sum(1), torch.ones(6))


def test_half_precision_logits_are_normalized_in_fp32() -> None:
    logits = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    logp = distribution(logits, 1.0, ())
    assert logp.dtype == torch.float32
    torch.testing.assert_close(logp.exp().sum(-1), torch.ones(4), atol=1e-5, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distribution(logits, 1.0, ()), logp)


@pytest.mark.parametrize("block", [1, 30, 10**6])  # rows a block: 1, 4, all
@pytest.mark.parametrize(
    ("temperature", "suppressed", "scale"),
    [(1.0, [], 1e4), (0.6, [1, 4], 1.0), (1.7, [0, 9], 10.0)],  # the first: one token has all the probability
)
def test_scores_and_their_gradients_against_numpy(
    monkeypatch: pytest.MonkeyPatch, block: int, temperature: float, suppressed: list[int], scale: float
) -> None:
    monkeypatch.setattr(logprobs, "CPU_BLOCK", block)
    rng = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(1, 9, 7, generator=rng)
    ids = torch.randint(2, 4, (1, 9), generator=rng)
    mask = torch.ones(1, 9, dtype=torch.bool)
    by_logp, by_entropy = torch.randn(2, 1, 9, generator=rng)
    logits.requires_grad_(True)
    logp, entropy = answer_scores(logits, ids, mask, identity, temperature, suppressed)
    (gradient,) = torch.autograd.grad((logp * by_logp + entropy * by_entropy).sum(), logits)
    columns = [i for i in suppressed if i < 7]
    *values, one, other = numpy_scores(logits[0], ids[0], temperature, columns)
    np.testing.assert_allclose(logp[0].detach(), values[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(entropy[0].detach(), values[1], atol=1e-6)
    expected = by_logp[0, :, None].numpy() * one + by_entropy[0, :, None].numpy() * other
    expected[:, columns] = 0
    np.testing.assert_allclose(gradient[0], expected, atol=3e-6)


def test_scores_of_half_precision_logits_are_those_of_the_same_numbers_in_fp32() -> None:
    logits = torch.randn(1, 3, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    ids, mask = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool)
    gradients, scores = [], []
    for each in (logits, logits.float()):
        each.requires_grad_(True)
        scores.append(answer_scores(each, ids, mask, identity, 0.7, [4]))
        gradients.append(torch.autograd.grad(scores[-1][0].sum() + scores[-1][1].sum(), each)[0])
    assert scores[0][0].dtype == torch.float32 and gradients[0].dtype == torch.bfloat16
    for a, b in zip(*scores, strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(gradients[0].float(), gradients[1], atol=1e-3, rtol=1e-2)


def test_the_callers_states_stay_as_they_are_and_a_second_backward_pass_is_refused() -> None:
    state = torch.randn(1, 3, 5, requires_grad=True)
    before = state.detach().clone()
    logp, _ = answer_scores(state, torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3).bool(), torch.clone, 1.0, [])
    logp.sum().backward(retain_graph=True)
    assert torch.equal(state, before)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logp.sum().backward()


@pytest.mark.parametrize("tile", [10**9, 40, 1])
def test_answers_scored_in_parts_have_the_same_value_and_gradient(tile: int) -> None:
    rng = torch.Generator().manual_seed(0)
    state, weight = torch.randn(3, 4, 6, generator=rng), torch.randn(11, 6, generator=rng)
    ids = torch.randint(0, 11, (3, 4), generator=rng)
    mask = torch.arange(4) < torch.tensor([4, 2, 0])[:, None]
    state.requires_grad_(True)
    weight.requires_grad_(True)
    logp, spread = answer_scores(state, ids, mask, lambda x: x @ weight.T, 0.7, [3], tile)
    whole = distribution(state @ weight.T, 0.7, [3])
    of_tokens = whole.gather(-1, ids[..., None])[..., 0] * mask
    entropy = -(whole.exp() * whole).sum(-1) * mask
    torch.testing.assert_close(logp, of_tokens)
    torch.testing.assert_close(spread, entropy)
    found = torch.autograd.grad((logp + 0.1 * spread).sum(), (state, weight))
    expected = torch.autograd.grad((of_tokens + 0.1 * entropy).sum(), (state, weight))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_only_answer_positions_pass_the_head() -> None:
    seen = []
    mask = torch.arange(4) < torch.tensor([4, 1])[:, None]

    def head(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[:-1].numel())
        return x

    answer_scores(torch.randn(2, 4, 6), torch.zeros(2, 4, dtype=torch.long), mask, head, 1.0, [])
    assert sum(seen) == 1 + 5  # one position to know the size of the vocabulary
