import numpy as np
import pytest
import torch

from umed.models.logprobs import distribution, entropy, of_tokens


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


def test_suppressed_tokens_leave_entropy_and_gradients_finite() -> None:
    logits = torch.randn(2, 5, requires_grad=True)
    logp = distribution(logits, 1.0, (0, 1))
    (entropy(logp).sum() + logp[:, 2].sum()).backward()
    assert logits.grad.isfinite().all() and (logits.grad[:, :2] == 0).all()
