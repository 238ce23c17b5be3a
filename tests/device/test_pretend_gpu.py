"""The pretend accelerator behaves as a GPU does in what it is there to show."""

import io
from copy import deepcopy

import pretend_gpu
import pytest
import torch
from torch import nn


@pytest.fixture
def x(pretend: torch.device) -> torch.Tensor:
    return torch.arange(6.0, device=pretend).view(2, 3)


def test_devices_do_not_mix(pretend: torch.device, x: torch.Tensor) -> None:
    assert x.device == pretend and (x @ x.T).device == pretend
    for mixes in (
        lambda: x + torch.ones(3),
        lambda: torch.ones(4, 2) @ x,
        lambda: torch.cat([x, torch.ones(1, 3)]),
        lambda: torch.where(x > 1, x, torch.ones(3)),
        lambda: x.gather(0, torch.zeros(1, 3, dtype=torch.long)),
        lambda: torch.ones(2, 3).mul_(x),
        lambda: nn.functional.embedding(torch.zeros(1, dtype=torch.long), x),
        lambda: torch.multinomial(x, 1, generator=torch.Generator()),
        lambda: nn.Linear(3, 1)(x),
    ):
        with pytest.raises(RuntimeError, match=r"cpu|same device"):
            mixes()
    assert (x + torch.tensor(1.0)).device == pretend  # a single number may come from the host, and so may indices
    assert x[torch.tensor([1])].cpu().tolist() == [[3, 4, 5]]


def test_views_share_memory_and_gradients_follow_them(x: torch.Tensor) -> None:
    column, copied = x[:, 1:].reshape(2, 2)[:, 0], x.T.reshape(6)
    x.T[1] = 7
    assert x.cpu().tolist() == [[0, 7, 2], [3, 7, 5]] and column.cpu().tolist() == [7, 7]
    assert copied.cpu().tolist() == [0, 3, 1, 4, 2, 5]
    x[:, 1:].view(2, 2)[0] -= 2
    assert x.cpu()[0].tolist() == [0, 5, 0] and x.stride() == (3, 1) and x.T.stride() == (1, 3)

    def gradient(leaf: torch.Tensor) -> torch.Tensor:
        leaf = leaf.detach().requires_grad_()
        whole = torch.zeros_like(leaf).T
        whole[1:, :1] = (leaf.T[1:, 1:] * 3).sin()  # written into a view of a view
        (whole.square().sum() + leaf.cumsum(1)[:, -1].prod()).backward()
        return leaf.grad.cpu()

    assert torch.equal(gradient(x), gradient(x.cpu()))


def test_what_the_host_waits_for(pretend: torch.device, x: torch.Tensor) -> None:
    def waits(*actions: object) -> dict[str, int]:
        with pretend_gpu.count_waits() as counted:
            for action in actions:
                action()  # type: ignore[operator]
        assert {where for _, where in counted} <= {"elsewhere"}
        return {what: count for (what, _), count in counted.items()}

    place = torch.tensor([1])
    assert waits(lambda: x.sum().item(), lambda: bool((x > 0).any())) == {"_local_scalar_dense": 2}
    assert waits(lambda: x.cpu(), lambda: x.tolist()) == {"to the host": 2}
    assert waits(lambda: torch.tensor([1.0], device=pretend), lambda: place.to(pretend)) == {"to the device": 2}
    assert waits(lambda: x[x > 0], lambda: x[:, place], lambda: (x > 0).nonzero()) == {
        "index": 1,
        "to the device": 1,
        "nonzero": 1,
    }

    def write() -> None:
        there = place.to(pretend, non_blocking=True)
        x[there, there] = 1.0
        x[x > 0] = 0.0  # of one number: no place must be known
        x.index_select(0, there).softmax(1).masked_fill(x > 0, 2).repeat_interleave(2, 0)

    assert waits(write) == {}


def test_modules_are_trained_copied_and_saved(pretend: torch.device, x: torch.Tensor) -> None:
    def step(model: nn.Module, batch: torch.Tensor) -> nn.Module:
        optimizer = torch.optim.AdamW(model.parameters())
        model(batch).square().sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return model

    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 1))
    there = step(deepcopy(model).to(pretend), x)
    here = step(model, x.cpu())
    file = io.BytesIO()
    torch.save(there.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, map_location="cpu", weights_only=True)
    for p, q, r in zip(deepcopy(there).parameters(), here.parameters(), saved.values(), strict=True):
        assert p.device == pretend and torch.equal(p.cpu(), q) and torch.equal(r, q)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real GPU")
def test_nothing_of_it_is_left_outside() -> None:
    with pretend_gpu.active() as device:
        assert torch.ones(1, device=device).device == device and torch.accelerator.is_available()
    assert not torch.accelerator.is_available() and torch._C._has_storage(torch.ones(1))
    layer = nn.Linear(1, 1)
    weight = layer.weight
    assert layer.to(torch.bfloat16).weight is weight  # as torch does by default
