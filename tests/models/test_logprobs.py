import numpy as np
import pytest
import torch

from umed.models.logprobs import answer_scores, distribution, entropy, of_tokens


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_distribution_against_numpy(temperature: float) -> None:
    logits = torch.randn(2, 3, 7, generator=torch.Generator().manual_seed(0))
    logp = distribution(logits, temperature, (1, 4))
    scaled = logits.numpy().astype(float) / temperature
    scaled[..., [1, 4]] = -np.inf
    p = np.exp(scaled) / np.exp(scaled).sum(-1, keepdims=True)
    np.testing.assert_allclose(logp.exp().numpy(), p, atol=1e-6)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = -np.nansum(p * np.log(p), -1)  # equation (10)
    np.testing.assert_allclose(entropy(logp).numpy(), expected, atol=1e-5)
    ids = torch.tensor([[0, 2, 3], [5, 6, 0]])
    np.testing.assert_allclose(of_tokens(logp, ids)[1, 1].exp(), p[1, 1, 6], atol=1e-6)


def test_half_precision_logits_are_normalized_in_fp32() -> None:
    logits = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    logp = distribution(logits, 1.0, ())
    assert logp.dtype == torch.float32
    torch.testing.assert_close(logp.exp().sum(-1), torch.ones(4), atol=1e-5, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        found = distribution(logits, 1.0, ())
        assert torch.equal(found, logp) and torch.equal(entropy(found), entropy(logp))


def test_suppressed_tokens_leave_entropy_and_gradients_finite() -> None:
    logits = torch.randn(2, 5, requires_grad=True)
    logp = distribution(logits, 1.0, (0, 1))
    (entropy(logp).sum() + logp[:, 2].sum()).backward()
    assert logits.grad.isfinite().all() and (logits.grad[:, :2] == 0).all()


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
    torch.testing.assert_close(logp, of_tokens(whole, ids) * mask)
    torch.testing.assert_close(spread, entropy(whole) * mask)
    found = torch.autograd.grad((logp + 0.1 * spread).sum(), (state, weight))
    expected = torch.autograd.grad(((of_tokens(whole, ids) + 0.1 * entropy(whole)) * mask).sum(), (state, weight))
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
