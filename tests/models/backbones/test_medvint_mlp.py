"""MedVInT's MLP variant: one image token; the vision relevance reward is refused in one line."""

from collections.abc import Callable

import pytest
import torch

from umed.chat import Prompt
from umed.errors import InputError
from umed.models.policy import Policy

FAMILIES = ("medvint_mlp",)


def test_one_token_is_the_mean_of_all_patches(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, prompts = policy().eval(), make_prompts(2)
    assert all(int((p.inputs["input_ids"] == pi.processor.image_id).sum()) == p.view.tokens == 1 for p in prompts)
    assert prompts[0].view.patches == 0
    pixels = torch.cat([p.inputs["pixel_values"] for p in prompts])
    out = pi.core.model.get_image_features(pixels)
    assert out.pooler_output.shape == (2, 1, 64) and out.query_attentions is None
    assert torch.allclose(out.pooler_output[:, 0], pi.core.model.multi_modal_projector(out.last_hidden_state.mean(1)))


def test_the_vision_relevance_reward_is_refused(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    ids = torch.ones(1, 3, dtype=torch.long)
    with pytest.raises(InputError, match="reward.parts.vision_relevance: MedVInT's MLP variant has one image token"):
        policy().score(make_prompts(1), ids, ids.bool(), ids.cumsum(1))
