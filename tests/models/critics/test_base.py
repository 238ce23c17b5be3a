import torch

from umed.models.critics.base import ValueHead


def test_zero_at_start_and_in_fp32_whatever_comes_in() -> None:
    head = ValueHead(8)
    values = head(torch.randn(2, 3, 8, dtype=torch.bfloat16))
    assert values.shape == (2, 3) and values.dtype == torch.float32 and (values == 0).all()


def test_it_learns_at_the_first_step() -> None:
    torch.manual_seed(0)
    head, hidden = ValueHead(8), torch.randn(4, 3, 8)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    error = (head(hidden) - 1).square().mean()
    error.backward()
    optimizer.step()
    assert (head(hidden) - 1).square().mean() < error
