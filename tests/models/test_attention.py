"""Equation (6)'s evidence: the captured rows are those of eager attention."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from umed.chat import Prompt
from umed.models.attention import AttentionRecorder, sdpa_with_evidence
from umed.models.policy import Policy
from umed.synthetic.parity.tiny_model import plain_inputs

IMAGE_TOKENS = True
IDS = torch.randint(10, 200, (6, 5), generator=torch.Generator().manual_seed(0))
MASK = torch.arange(5) < torch.tensor([5, 3, 5, 4, 2, 5])[:, None]
# rows of the answer pass: token t is read in at row t + 1
ROWS = torch.tensor([[1, 2], [3, -1], [0, 4], [-1, -1], [2, -1], [5, 1]])


def attending(policy: Policy) -> list[int]:
    """The layers with attention; Qwen3.5 has others too."""
    return [i for i, layer in enumerate(policy.core.get_decoder().layers) if hasattr(layer, "self_attn")]


@torch.no_grad()
def eager_maps(policy: Policy, prompts: list[Prompt], layers: list[int], heads: list[int]) -> list[torch.Tensor]:
    """Attention of each answer's full row on its image columns, from output_attentions, (T + 1, P) each."""
    model = AutoModelForImageTextToText.from_pretrained(policy.core.name_or_path, attn_implementation="eager")
    model.load_state_dict(policy.core.state_dict())
    found = []
    for prompt, ids, mask in zip(prompts, IDS, MASK, strict=True):
        inputs = plain_inputs(policy.backbone, prompt, ids[mask].tolist())
        out = model.eval()(**inputs, output_attentions=True)
        maps = out.attentions
        mean = torch.stack([maps[attending(policy).index(i)][0, heads] for i in layers]).mean((0, 1))
        images = prompt.inputs["input_ids"] == policy.processor.image_id
        on_image = mean[len(images) - 1 :, : len(images)][:, images]
        found.append(on_image @ out.query_attentions[0] if prompt.view.queries else on_image)
    return found


@pytest.mark.parametrize("layers", [None, [1]])
@pytest.mark.parametrize("heads", [None, [0, 3]])
def test_rows_equal_eager_attention(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    layers: list[int] | None,
    heads: list[int] | None,
) -> None:
    pi = policy(attention_layers=layers, attention_heads=heads)
    each = [p for p in make_prompts(3) for _ in range(2)]
    maps = eager_maps(pi, each, layers or attending(pi), heads or [0, 1, 2, 3])
    found = pi.score(each[::2], IDS, MASK, ROWS).attention_BNP.detach()
    assert found.shape == (6, 2, max(m.shape[1] for m in maps))
    for b, rows in enumerate(ROWS.tolist()):
        size = maps[b].shape[1]
        assert (found[b, :, size:] == 0).all()
        for n, row in enumerate(rows):
            expected = maps[b][row] if row >= 0 else torch.zeros(size)
            torch.testing.assert_close(found[b, n, :size], expected, atol=1e-6, rtol=0)


def test_one_prompt_without_padding(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pi, prompts = policy(), make_prompts(3)
    together = pi.score(prompts, IDS[:3], MASK[[0, 2, 5]], ROWS[[0, 2, 5]]).attention_BNP
    size = prompts[0].view.patches
    alone = pi.score(prompts[:1], IDS[:1], MASK[:1], ROWS[:1]).attention_BNP
    torch.testing.assert_close(alone[0], together[0, :, :size], atol=1e-6, rtol=0)


def test_the_evidence_does_not_change_the_answer(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, prompts = policy(), make_prompts(3)
    with_evidence, without = (pi.score(prompts, IDS, MASK, rows).logp_BT for rows in (ROWS, None))
    assert torch.equal(with_evidence, without)


def test_gradient_checkpointing_gives_the_same_evidence(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    prompts = make_prompts(3)
    expected = policy().score(prompts, IDS, MASK, ROWS).attention_BNP
    with torch.no_grad():
        found = policy(gradient_checkpointing=True).train().score(prompts, IDS, MASK, ROWS).attention_BNP
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_it_is_differentiable(policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]) -> None:
    pi = policy()
    pi.score(make_prompts(3), IDS, MASK, ROWS).attention_BNP.square().sum().backward()
    for layer in (pi.core.get_decoder().layers[i] for i in attending(pi)):
        for name in [n for n in ("q_proj", "k_proj") if hasattr(layer.self_attn, n)]:  # keys may be another layer's
            assert getattr(layer.self_attn, name).weight.grad.abs().sum() > 0


def test_more_query_towards_the_region_means_more_attention_there(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    """One gradient step up the mass on one image token raises it."""
    pi, prompts = policy(), make_prompts(3)
    weights = [pi.core.get_decoder().layers[i].self_attn.q_proj.weight for i in attending(pi)]
    before = pi.score(prompts, IDS, MASK, ROWS).attention_BNP[0, 0, 1]
    for weight, gradient in zip(weights, torch.autograd.grad(before, weights), strict=True):
        weight.data += 0.1 * gradient / gradient.norm()
    assert pi.score(prompts, IDS, MASK, ROWS).attention_BNP[0, 0, 1] > before * 1.001


def test_every_layer_must_report(policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]) -> None:
    pi = policy()
    pi.core.set_attn_implementation("eager")  # answers as before, and records nothing
    with pytest.raises(RuntimeError, match=f"0 of {len(attending(pi))} layers"):
        pi.score(make_prompts(3), IDS, MASK, ROWS)


def test_a_recorder_that_heard_half_of_the_layers_refuses() -> None:
    modules = [torch.nn.Identity(), torch.nn.Identity()]
    recorder = AttentionRecorder(ROWS, modules)
    recorder.maps = [torch.zeros(6, 2, 2)]
    with pytest.raises(RuntimeError, match="1 of 2"):
        recorder.pooled()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_evidence_is_in_fp32_under_autocast(dtype: torch.dtype) -> None:
    """That of numpy for the same queries and keys; 16 bits would be off by more than 1e-3."""
    rng, module = torch.Generator().manual_seed(0), torch.nn.Identity()
    query, key = (3 * torch.randn(2, 4, length, 16, generator=rng).to(dtype) for length in (3, 7))
    key, module.num_key_value_groups = key[:, :2], 2
    recorder = AttentionRecorder(torch.tensor([[0, 2], [1, -1]]), [module])
    columns = torch.tensor([[0, 1, 3], [2, 4, -1]])
    with torch.autocast("cpu", torch.bfloat16), recorder.record(columns):
        sdpa_with_evidence(module, query, key, key, torch.ones(2, 1, 3, 7, dtype=torch.bool))
    found = recorder.pooled()
    q, k = query.double().numpy(), key.double().numpy().repeat(2, 1)
    weights = np.exp(q @ k.swapaxes(-1, -2) / 4)
    rows = (weights / weights.sum(-1, keepdims=True)).mean(1)
    expected = [[rows[0, 0, [0, 1, 3]], rows[0, 2, [0, 1, 3]]], [[*rows[1, 1, [2, 4]], 0], [0, 0, 0]]]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, np.array(expected), atol=1e-6)
