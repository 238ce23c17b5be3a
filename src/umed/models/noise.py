"""Uniform numbers for sampling, keyed by where they are used: no stream that a batch's cut could shift."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BELOW_ONE = 1 - 2**-24  # the largest number below 1 in fp32
FIXED_POINT = 2**44


@dataclass(frozen=True, slots=True)
class Noise:
    """u of (seed, batch, place of the query, candidate, token), the same whatever else is sampled beside.

    Args:
        seed: of the run.
        batch: number of the batch.
        purpose: tells uses apart that have the same seed and batch.
    """

    seed: int
    batch: int = 0
    purpose: int = 0

    def uniform(self, places: Sequence[int], num_candidates: int, length: int, first_candidate: int = 0) -> Tensor:
        """In [0, 1), (Q * G, length) float32 on the CPU, from the counter-based generator Philox.

        Args:
            places: of the queries.
        """
        key = np.array([self.seed % 2**64, self.purpose], dtype=np.uint64)  # a list becomes int64, cut at its largest
        rows = [
            np.random.Generator(np.random.Philox(key=key, counter=[0, candidate, place, self.batch])).random(length)
            for place in places
            for candidate in range(first_candidate, first_candidate + num_candidates)
        ]
        numbers = torch.from_numpy(np.array(rows, dtype=np.float64).reshape(len(rows), length))
        return numbers.clamp(max=BELOW_ONE).float()


def inverse_cdf(logp_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The first token whose cumulative probability is above u, (B,); one of probability 0 never."""
    if logp_BV.device.type == "cpu":
        cdf = logp_BV.exp().cumsum(-1)
    else:  # summed as integers, which is exact in any order: sums of floats are not the same twice on a GPU
        cdf = (logp_BV.double().exp() * FIXED_POINT).long().cumsum(-1).double()
    total = cdf[:, -1:]
    # u * total may round up to the total itself, which nothing is above
    reached = torch.minimum(uniform_B[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cdf, reached, right=True)[:, 0].clamp(max=logp_BV.shape[-1] - 1)
