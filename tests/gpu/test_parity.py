"""Sampled answers are scored as they were sampled, and as on the CPU."""

from collections.abc import Callable

import torch

from umed.chat import Prompt
from umed.models.noise import Noise
from umed.models.policy import Policy


def test_sampled_answers_score_as_on_the_cpu(
    device: torch.device, policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    prompts = make_prompts(2)
    here, there = policy().eval(), policy(device=str(device)).eval()
    said = there.sample(prompts, 2, 6, noise=Noise(0))
    with torch.no_grad():
        on_gpu = there.score(prompts, said.ids_BT, said.mask_BT).logp_BT.cpu()
        on_cpu = here.score(make_prompts(2), said.ids_BT.cpu(), said.mask_BT.cpu()).logp_BT
    valid = said.mask_BT.cpu()
    torch.testing.assert_close(on_gpu[valid], said.logp_BT.cpu()[valid], atol=1e-4, rtol=0)
    torch.testing.assert_close(on_gpu[valid], on_cpu[valid], atol=1e-3, rtol=0)
