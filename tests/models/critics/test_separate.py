"""The separate critic keeps its own tower."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from umed.chat import Prompt
from umed.models.critics.separate import SeparateCritic
from umed.models.load import save_adapter
from umed.models.policy import Policy

IDS, MASK = torch.full((2, 5), 60), torch.ones(2, 5, dtype=torch.bool)


@pytest.mark.parametrize("options", [{}, {"adapter": {"r": 4, "target_modules": "all-linear"}}], ids=["full", "tower"])
def test_a_tower_that_the_policy_has_moved_since_does_not_matter(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], tmp_path: Path, options: dict
) -> None:
    pi, prompts = policy(critic=SeparateCritic, **options), make_prompts(2)
    torch.nn.init.normal_(pi.value_head.layers[-1].weight)
    before = pi.score(prompts, IDS, MASK).values_BT
    with torch.no_grad():
        for p in pi.body():
            p += 0.05 * torch.randn_like(p)
    save_adapter(pi, tmp_path, {})
    again = policy(init_from=str(tmp_path), critic=SeparateCritic)
    torch.testing.assert_close(again.eval().score(make_prompts(2), IDS, MASK).values_BT, before, atol=1e-4, rtol=0)
