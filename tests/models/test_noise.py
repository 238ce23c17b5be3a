"""Noise is keyed by place, and the inverse CDF draws from the distribution it is given."""

import numpy as np
import pytest
import torch

from umed.models.noise import Noise, inverse_cdf


def test_a_number_depends_on_its_own_place_alone() -> None:
    noise = Noise(3, 5)
    whole = noise.uniform([0, 1, 2], 4, 9)
    assert whole.shape == (12, 9) and whole.dtype == torch.float32
    assert torch.equal(noise.uniform([2], 4, 9), whole[8:])  # whatever is sampled beside
    assert torch.equal(noise.uniform([1], 2, 9, first_candidate=2), whole[6:8])
    assert torch.equal(noise.uniform([0, 1, 2], 4, 5), whole[:, :5])  # however long answers may be
    everything = [
        whole,
        Noise(4, 5).uniform([0], 1, 9),
        Noise(3, 6).uniform([0], 1, 9),
        Noise(3, 5, 1).uniform([0], 1, 9),
    ]
    numbers = torch.cat(everything).flatten()
    assert len(numbers.unique()) == len(numbers)


def test_numbers_are_uniform() -> None:
    numbers = Noise(0).uniform(range(50), 20, 20).flatten().sort().values
    assert numbers[0] >= 0 and numbers[-1] < 1
    expected = (torch.arange(len(numbers)) + 0.5) / len(numbers)
    assert (numbers - expected).abs().max() < 1.6 / np.sqrt(len(numbers))  # Kolmogorov-Smirnov, far out


def test_tokens_come_as_often_as_they_are_probable() -> None:
    probabilities = torch.tensor([0.0, 0.5, 0.0, 0.2, 0.3, 0.0])
    logp = probabilities.clamp(min=0).log()
    count = 4000
    uniform = (torch.arange(count) + 0.5) / count
    drawn = inverse_cdf(logp.expand(count, -1), uniform).bincount(minlength=6)
    assert drawn.tolist() == pytest.approx((probabilities * count).tolist(), abs=1)


@pytest.mark.parametrize("value", [0.0, 1e-45, 0.5, 1 - 2**-24])
@pytest.mark.parametrize("kept", [[0], [7], [3, 4], [0, 9]])
def test_a_token_of_no_probability_is_never_drawn(value: float, kept: list[int]) -> None:
    logits = torch.full((1, 10), torch.finfo(torch.float32).min)
    logits[0, kept] = torch.linspace(0, 1, len(kept)) - 3
    for scale in (1.0, 1e-3, 30.0):
        drawn = inverse_cdf(torch.log_softmax(logits * scale, -1), torch.tensor([value]))
        assert int(drawn) in kept


def test_seeds_below_zero_have_streams_of_their_own() -> None:
    numbers = torch.cat([Noise(seed).uniform([0], 1, 9) for seed in (-2, -1, 0, 2**63)]).flatten()
    assert len(numbers.unique()) == len(numbers)
