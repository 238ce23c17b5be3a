"""What kernels keep, on the meta device."""

import pytest
import torch
import torch.nn.functional as F

from umed.engine.kernels import kernels_of
from umed.engine.live_bytes import LiveBytes


def kept(gpu: bool, length: int, mask: bool, dtype: torch.dtype = torch.bfloat16, gqa: bool = False) -> int:
    """Bytes that attention saves of (2, 4, length, 32), beyond its inputs."""
    shape = (2, 4, length, 32)
    q, k, v = (torch.empty(*shape, dtype=dtype, device="meta", requires_grad=True) for _ in range(3))
    visible = torch.ones(2, 1, length, length, dtype=torch.bool) if mask else None
    if gqa:
        k, v = (t[:, :1].detach().requires_grad_() for t in (k, v))
    live = LiveBytes([q, k, v])
    before = live.now
    with kernels_of(gpu), live:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=not mask, enable_gqa=gqa)
        bytes_kept = live.now - before
        out.sum().backward()
    return bytes_kept


@pytest.mark.parametrize("gpu", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_attention_keeps_no_scores(gpu: bool, dtype: torch.dtype) -> None:
    size = torch.finfo(dtype).bits // 8
    for length in (256, 512):
        rows = 2 * 4 * length
        out, sums = rows * 32 * size, rows * 4
        assert out + sums <= kept(gpu, length, False, dtype) <= out + sums + 1000  # a few random seeds
        bias = 2 * length * length * size
        assert out + sums + bias <= kept(gpu, length, True, dtype) <= out + sums + bias + 2 * length * length + 1000


def test_where_no_kernel_takes_grouped_heads_the_scores_are_kept() -> None:
    scores = 2 * 4 * 256 * 256 * 4
    assert kept(True, 256, False, torch.float32, gqa=True) > scores > kept(True, 256, False, gqa=True)


@pytest.mark.parametrize(("gpu", "size"), [(True, 1), (False, 4)])
def test_the_mask_of_dropout(gpu: bool, size: int) -> None:
    x = torch.empty(100, 100, device="meta", requires_grad=True)
    live = LiveBytes([x])
    with kernels_of(gpu), live:
        out = F.dropout(x, 0.1)
        assert live.now == 40_000 + 40_000 + size * 10_000
        assert F.dropout(x, 0.1, training=False) is x or not gpu
    assert out.shape == x.shape


def test_with_mixed_precision_a_weight_is_cast_for_each_product() -> None:
    """As Lightning's autocast does; the graph keeps what the backward pass needs of it."""
    with torch.device("meta"):
        layer, x = torch.nn.Linear(64, 64, bias=False), torch.empty(8, 64, requires_grad=True)
    live = LiveBytes([x, *layer.parameters()])
    with kernels_of(True, torch.bfloat16), live:
        before = live.now
        out = layer(x)
        assert out.dtype == torch.bfloat16 and (x @ x.t()).dtype == torch.bfloat16
        once = live.now - before
        assert once == 64 * 64 * 2 + 2 * 8 * 64 * 2  # weight, input and output
        again = layer(x)
        assert live.now - before == 2 * once and again.requires_grad
        del out
        assert live.now - before == once
        assert torch.nn.LayerNorm(64, device="meta")(x).dtype == torch.float32


def test_everything_is_in_place_again() -> None:
    before = F.dropout, F.scaled_dot_product_attention, torch.autocast
    with pytest.raises(ZeroDivisionError), kernels_of(True):
        with torch.autocast("meta", enabled=False):  # the value head's
            pass
        assert F.dropout is not before[0]
        _ = 1 / 0
    assert (F.dropout, F.scaled_dot_product_attention, torch.autocast) == before
