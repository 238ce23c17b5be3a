"""The pass over packed answers gives what padded rows give, and is taken only where it does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from umed.chat import Prompt
from umed.models import packed, reader
from umed.models.attention import AttentionRecorder
from umed.models.packed import PackedPass, fits
from umed.models.policy import Policy

IDS = torch.randint(10, 200, (6, 5), generator=torch.Generator().manual_seed(0))
MASK = torch.arange(5) < torch.tensor([5, 3, 0, 4, 1, 2])[:, None]
ROWS = torch.tensor([[1, 2], [3, -1], [-1, -1], [0, 4], [-1, 1], [2, -1]])
PADDED = {"gemma4", "mllama", "paligemma", "qwen3_5"}  # shared keys, cross attention, capped scores, linear attention
Found = tuple[Tensor, Tensor, dict[str, Tensor]]


def read(policy: Policy, prompts: list[Prompt], recorder: AttentionRecorder | None = None) -> Tensor:
    return policy.reader.read(prompts, IDS, MASK, recorder)[:, :-1][MASK]


def widened(policy: Policy) -> Policy:
    """With a sliding window that holds prompt and answer, as those of released models do."""
    config = policy.core.config.get_text_config()
    if getattr(config, "sliding_window", None):
        config.sliding_window = 512
    return policy


def test_it_is_taken_by_families_that_it_serves(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], family: str
) -> None:
    pi = widened(policy())
    assert fits(pi.core, MASK, 100) == (family not in PADDED)
    assert not fits(pi.core, MASK[:, [1, 0]], 100)  # an answer with a gap
    for name, value in {"sliding_window": 104, "attn_logit_softcapping": 30.0, "attention_dropout": 0.1}.items():
        changed = widened(policy())
        setattr(changed.core.config.get_text_config(), name, value)
        assert not fits(changed.core, MASK, 100)
    pi.core.set_attn_implementation("eager")
    assert not fits(pi.core, MASK, 100)


def test_states_evidence_and_gradients_are_those_of_padded_rows(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
) -> None:
    if family in PADDED:
        pytest.skip("read in padded rows")
    pi, prompts, calls = widened(policy()), make_prompts(3), []
    pi.core.double()
    weights = torch.randn(2, generator=torch.Generator().manual_seed(1)).double()

    def compute() -> Found:
        recorder = AttentionRecorder(ROWS, pi._attention_modules)
        state, evidence = read(pi, prompts, recorder), recorder.pooled()
        pi.zero_grad()
        (state.square().sum() * weights[0] + (evidence * ROWS[..., None]).square().sum() * weights[1]).backward()
        return state, evidence, {n: p.grad for n, p in pi.named_parameters() if p.grad is not None}

    monkeypatch.setattr(packed.PackedPass, "__init__", count_calls(PackedPass.__init__, calls))
    state, evidence, gradients = compute()
    assert len(calls) == 1
    monkeypatch.setattr(reader, "fits", lambda *_: False)
    padded_state, padded_evidence, padded_gradients = compute()
    assert len(calls) == 1
    torch.testing.assert_close(state, padded_state, atol=1e-6, rtol=0)
    torch.testing.assert_close(evidence, padded_evidence, atol=1e-6, rtol=0)
    norm = torch.stack([g.norm() for g in padded_gradients.values()]).norm()
    assert gradients.keys() == padded_gradients.keys()
    for name, gradient in gradients.items():
        assert (gradient - padded_gradients[name]).norm() <= 1e-6 * norm


def count_calls(function: Callable, calls: list[None]) -> Callable:
    def counted(*args: object, **kwargs: object) -> None:
        calls.append(None)
        function(*args, **kwargs)

    return counted


def test_a_layer_that_never_asks_is_found(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    prefix = policy().reader.read_prompts(make_prompts(3), 1)
    whole = PackedPass(prefix.cache, prefix.mask_BP, [1] * 3, prefix.columns_BI)
    with pytest.raises(RuntimeError, match="0 of 2 layers"), whole.running(2):
        pass


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_as_near_as_it_can_be(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    monkeypatch: pytest.MonkeyPatch,
    autocast: bool,
) -> None:
    pi, prompts = widened(policy(dtype="float32" if autocast else "bfloat16")), make_prompts(3)

    def compute() -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            state = read(pi, prompts)
        pi.zero_grad()
        state.float().square().mean().backward()
        return state.float(), torch.cat([p.grad.flatten().float() for p in pi.body() if p.grad is not None])

    state, gradient = compute()
    monkeypatch.setattr(reader, "fits", lambda *_: False)
    for found, expected in zip((state, gradient), compute(), strict=True):
        assert (found - expected).norm() < 0.05 * expected.norm()
