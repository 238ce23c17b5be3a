"""A patch embedding as a matrix product is the convolution it was."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from umed.models.patches import PatchConv3d, embed_patches_as_products
from umed.models.policy import Policy

FAMILIES = ("qwen2_5_vl", "qwen3_vl")


@pytest.mark.parametrize("size", [(2, 3, 3), (4, 3, 6)])  # one patch; several, where it stays a convolution
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_convolution(size: tuple[int, int, int], bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 5, (2, 3, 3), (2, 3, 3), bias=bias)).double()
    x = torch.randn(4, 3, *size, dtype=torch.float64, requires_grad=True)
    inputs = [x, *model.parameters()]

    def compute() -> list[torch.Tensor]:
        out = model(x)
        return [out, *torch.autograd.grad(out.square().sum(), inputs)]

    expected = compute()
    embed_patches_as_products(model)
    assert type(model[0]) is PatchConv3d
    for found, value in zip(compute(), expected, strict=True):
        torch.testing.assert_close(found, value, atol=1e-12, rtol=0)


def test_other_convolutions_stay_as_they_are() -> None:
    others = nn.Sequential(nn.Conv3d(2, 4, 3, groups=2), nn.Conv3d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3))
    embed_patches_as_products(others)
    assert not any(isinstance(m, PatchConv3d) for m in others)


def test_the_tower_of_a_policy_embeds_by_products(policy: Callable[..., Policy], family: str) -> None:
    assert type(policy().core.model.visual.patch_embed.proj) is PatchConv3d
