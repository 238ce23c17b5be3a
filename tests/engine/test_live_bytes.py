"""Bytes that are alive, on real tensors by hand and on the meta device as on real ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umed.engine.live_bytes import LiveBytes

SIDE = 4096  # bytes of a 32 x 32 float


def test_what_is_held_made_and_gone_is_counted() -> None:
    held = torch.zeros(32, 32)
    live = LiveBytes([held, held.t(), held[:3]])
    assert live.now == live.peak == SIDE
    with live:
        a = held + 1
        assert live.now == 2 * SIDE
        b = a.view(-1)  # the same storage
        del a
        assert live.now == 2 * SIDE
        del b
        assert live.now == SIDE and live.take_peak() == 2 * SIDE and live.peak == SIDE


def test_a_backward_pass_frees_what_it_saved() -> None:
    x, w = torch.ones(32, 32), torch.ones(32, 32, requires_grad=True)
    live = LiveBytes([x, w])
    with live:
        y = (x @ w).exp().exp()  # each saves its result
        assert live.now == 4 * SIDE
        y.sum().backward()
        del y
        assert live.now == 3 * SIDE and live.peak >= 5 * SIDE  # the gradient


class Small(nn.Module):
    """Every kind of operation that the policies mix: indices, masks, in-place writes, attention, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.linear = nn.Embedding(50, 32), nn.Linear(32, 32)

    def forward(self, ids: Tensor, keep: Tensor) -> Tensor:
        h = self.embed(ids)
        h = h.masked_scatter(keep[..., None].expand_as(h), torch.ones_like(h))
        h = F.dropout(self.linear(h), 0.1)
        some = h[keep]  # (N, 32): N depends on the mask's values
        out = h.new_zeros(*ids.shape)
        out[keep] = some.sum(-1)
        position = torch.arange(ids.shape[1], device=h.device).float()
        if bool(keep.all()) or int(ids.max()) > 49:  # code that branches on numbers
            raise AssertionError
        return out * position


def count(device: str) -> tuple[int, int]:
    torch.manual_seed(0)
    with torch.device(device):
        model = Small()
    ids, keep = torch.arange(40).view(4, 10), torch.arange(40).view(4, 10) % 3 > 0
    live = LiveBytes(model.parameters())
    with live:
        out = model(ids, keep)
        kept = live.now
        out.sum().backward()
    assert all(p.grad is not None and p.grad.device.type == device for p in model.parameters())
    return kept, live.peak


def test_the_meta_device_holds_what_the_cpu_does() -> None:
    (kept, peak), real = count("meta"), count("cpu")
    assert kept > 20_000 and (kept, peak) == real
