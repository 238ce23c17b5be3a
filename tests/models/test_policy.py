"""pi_theta, equation (1): what is sampled is what is scored, against plain transformers."""

import json
import shutil
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel

from umed.chat import Prompt
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.models.noise import Noise
from umed.models.policy import Policy, generating
from umed.synthetic.parity.tiny_model import plain_inputs, plain_logp

T = 8


def random_ids(rows: int, length: int) -> torch.Tensor:
    return torch.randint(10, 200, (rows, length), generator=torch.Generator().manual_seed(0))


def plain_model(policy: Policy) -> PreTrainedModel:
    """The same weights in an untouched transformers model with eager attention."""
    model = AutoModelForImageTextToText.from_pretrained(policy.core.name_or_path, attn_implementation="eager")
    model.load_state_dict(policy.core.state_dict())
    return model.eval()


@torch.no_grad()
def full_logp(policy: Policy, prompts: list[Prompt], answers: list[list[int]]) -> list[Tensor]:
    """log pi of each answer from one plain full forward pass over prompt and answer, no cache."""
    model = plain_model(policy)
    return [plain_logp(model, policy, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]


def bias_towards(policy: Policy, ids: list[int]) -> None:
    """Make these tokens by far the most probable ones, whatever the state."""
    head = policy.core.lm_head
    bias = torch.zeros(head.out_features)
    bias[[i for i in ids if i < len(bias)]] = 50.0  # a placeholder may have no logit
    head.register_forward_hook(lambda module, args, out: out + bias)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("queries", [1, 3])  # one query alone: no padding, no mask
def test_sampled_log_probs_are_teacher_forced_ones(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], temperature: float, queries: int
) -> None:
    pi, prompts = policy(temperature=temperature), make_prompts(queries)
    answers = pi.sample(prompts, 2, T, noise=Noise(0))
    scores = pi.score(prompts, answers.ids_BT, answers.mask_BT)
    torch.testing.assert_close(scores.logp_BT[answers.mask_BT], answers.logp_BT[answers.mask_BT], atol=1e-5, rtol=0)

    each = [p for p in prompts for _ in range(2)]
    full = full_logp(pi, each, [row[m].tolist() for row, m in zip(answers.ids_BT, answers.mask_BT, strict=True)])
    torch.testing.assert_close(torch.cat(full), answers.logp_BT[answers.mask_BT], atol=1e-5, rtol=0)


def test_temperature_and_seed_move_the_sample(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, prompts = policy(), make_prompts(2)
    once, again, other = (pi.sample(prompts, 2, T, noise=Noise(s)) for s in (0, 0, 1))
    assert torch.equal(once.ids_BT, again.ids_BT)
    assert not torch.equal(once.ids_BT, other.ids_BT)
    assert not torch.equal(once.ids_BT[0], once.ids_BT[1])  # candidates of one query are drawn separately
    pi.temperature = 0.5
    colder = pi.score(prompts, once.ids_BT, once.mask_BT)
    assert (colder.logp_BT - once.logp_BT)[once.mask_BT].abs().max() > 0.1


def test_greedy_is_transformers_greedy(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: FamilyProcessor
) -> None:
    pi, prompts = policy(), make_prompts(3)
    ours = pi.sample(prompts, 1, T, greedy=True)
    model = plain_model(pi)
    for row, mask, prompt in zip(ours.ids_BT, ours.mask_BT, prompts, strict=True):
        inputs = plain_inputs(pi.backbone, prompt, [])
        theirs = model.generate(
            **inputs, max_new_tokens=T, do_sample=False, suppress_tokens=list(processor.suppressed_ids)
        )[0, inputs["input_ids"].shape[1] :]
        assert row[mask].tolist() == theirs[: int(mask.sum())].tolist()


def test_a_hostile_generation_config_changes_nothing(
    tiny_folder: Path,
    tmp_path: Path,
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
) -> None:
    hostile = Path(shutil.copytree(tiny_folder, tmp_path / "hostile"))
    config = json.loads((hostile / "generation_config.json").read_text())
    hostile.joinpath("generation_config.json").write_text(
        json.dumps({**config, "do_sample": True, "top_k": 3, "repetition_penalty": 5.0, "temperature": 0.1})
    )
    prompts = make_prompts(2)
    expected = policy().sample(prompts, 2, T, noise=Noise(0))
    found = policy(path=hostile).sample(prompts, 2, T, noise=Noise(0))
    assert torch.equal(found.ids_BT, expected.ids_BT)
    torch.testing.assert_close(found.logp_BT, expected.logp_BT, atol=0, rtol=0)


def test_train_mode_and_gradient_checkpointing_do_not_touch_the_sample(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    prompts = make_prompts(3)
    expected = policy().sample(prompts, 2, T, noise=Noise(0))
    pi = policy(gradient_checkpointing=True, adapter={"target_modules": "all-linear", "lora_dropout": 0.5})
    pi.train()
    frozen = getattr(pi.core.model, pi.backbone.tower[0])
    frozen.eval()  # a mixed state must come back as it was
    found = pi.sample(prompts, 2, T, noise=Noise(0))
    assert torch.equal(found.ids_BT, expected.ids_BT)
    torch.testing.assert_close(found.logp_BT, expected.logp_BT, atol=1e-5, rtol=0)
    assert pi.training and pi.core.get_decoder().training and not frozen.training
    assert any(m.gradient_checkpointing for m in pi.modules() if hasattr(m, "gradient_checkpointing"))


def test_flags_come_back_after_an_exception(policy: Callable[..., Policy]) -> None:
    pi = policy(gradient_checkpointing=True).train()
    before = [(m.training, getattr(m, "gradient_checkpointing", None)) for m in pi.modules()]
    with pytest.raises(KeyError), generating(pi):
        assert not any(m.training or getattr(m, "gradient_checkpointing", False) for m in pi.modules())
        raise KeyError
    assert before == [(m.training, getattr(m, "gradient_checkpointing", None)) for m in pi.modules()]


def test_scores_under_gradient_checkpointing_are_the_same(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, prompts = policy().train(), make_prompts(3)
    saving = policy(gradient_checkpointing=True).train()
    answers = pi.sample(prompts, 2, T, noise=Noise(0))
    grads = []
    for model in (pi, saving):
        scores = model.score(prompts, answers.ids_BT, answers.mask_BT)
        torch.testing.assert_close(scores.logp_BT[answers.mask_BT], answers.logp_BT[answers.mask_BT], atol=1e-5, rtol=0)
        scores.logp_BT[answers.mask_BT].mean().backward()
        grads.append([p.grad for p in model.core.parameters()])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_image_tokens_are_never_sampled(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: FamilyProcessor
) -> None:
    pi, prompts = policy(), make_prompts(2)
    assert processor.image_id in processor.suppressed_ids
    bias_towards(pi, list(processor.suppressed_ids))
    for greedy in (False, True):
        answers = pi.sample(prompts, 4, T, greedy=greedy, noise=Noise(0))
        assert not torch.isin(answers.ids_BT, torch.tensor(processor.suppressed_ids)).any()
    scores = pi.score(prompts, answers.ids_BT, answers.mask_BT)
    assert all(x.isfinite().all() for x in (scores.logp_BT, scores.entropy_BT))


def test_another_picture_gives_another_answer(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, (a, b) = policy(), make_prompts(2, (56, 56))
    b = replace(
        a, inputs={**a.inputs, "pixel_values": b.inputs["pixel_values"]}, features=None
    )  # one text, two pictures
    answers = pi.sample([a, b], 2, T, noise=Noise(0))
    right, swapped = (pi.score(pair, answers.ids_BT, answers.mask_BT).logp_BT for pair in ([a, b], [b, a]))
    assert (right - swapped).abs().max() > 0.01


def test_eos_as_the_first_token(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: FamilyProcessor
) -> None:
    pi, prompts = policy(), make_prompts(2)
    bias_towards(pi, list(processor.eos_ids))
    answers = pi.sample(prompts, 2, T, noise=Noise(0))
    assert answers.ids_BT.shape == (4, 1) and set(answers.ids_BT[:, 0].tolist()) <= set(processor.eos_ids)
    assert answers.mask_BT.all() and not answers.truncated_B.any()
    scores = pi.score(prompts, answers.ids_BT, answers.mask_BT)
    torch.testing.assert_close(scores.logp_BT, answers.logp_BT, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pad_is_eos", [False, True])
def test_each_of_two_eos_ids_ends_an_answer_and_counts(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    processor: FamilyProcessor,
    pad_is_eos: bool,
) -> None:
    processor = copy(processor)  # not the shared one: its ids are changed
    second = processor.tokenizer.convert_tokens_to_ids("A")
    processor.eos_ids = (processor.eos_ids[0], second)
    if pad_is_eos:
        processor.pad_id = processor.eos_ids[0]
    pi, prompts = policy(), make_prompts(2)
    pi.processor = processor
    words = processor.tokenizer.convert_tokens_to_ids(["A", "What"])
    bias_towards(pi, [*processor.eos_ids, *words])
    answers = pi.sample(prompts, 16, T, noise=Noise(0))
    ends = set()
    for ids, mask, truncated in zip(
        answers.ids_BT.tolist(), answers.mask_BT.tolist(), answers.truncated_B.tolist(), strict=True
    ):
        hits = [t for t, i in enumerate(ids) if i in processor.eos_ids]
        length = hits[0] + 1 if hits else len(ids)
        assert mask == [True] * length + [False] * (len(ids) - length)  # the first EOS is inside, the rest is out
        assert truncated == (not hits)
        assert set(ids[length:]) <= {processor.pad_id}
        ends.add(ids[length - 1])
    assert set(processor.eos_ids) <= ends  # both were seen
    scores = pi.score(prompts, answers.ids_BT, answers.mask_BT)
    torch.testing.assert_close(scores.logp_BT[answers.mask_BT], answers.logp_BT[answers.mask_BT], atol=1e-5, rtol=0)


def test_the_end_comes_from_the_generation_config_too(
    tiny_folder: Path, processor: FamilyProcessor, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "two_ends"))
    folder.joinpath("generation_config.json").write_text(json.dumps({"eos_token_id": [0, 2]}))
    processor = type(processor)(str(folder))
    assert {0, 2} <= set(processor.eos_ids)
    own = {processor.eos_ids[0]}  # of the model's own settings, where they name one
    own |= {processor.tokenizer.eos_token_id, *processor.tokenizer.convert_tokens_to_ids(list(processor.ends))}
    assert set(processor.eos_ids) == {0, 2} | own


def test_truncated_answers_are_flagged(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: FamilyProcessor
) -> None:
    pi = policy()
    bias_towards(pi, [processor.tokenizer.convert_tokens_to_ids("A")])
    answers = pi.sample(make_prompts(1), 3, 4, noise=Noise(0))
    assert answers.truncated_B.all() and answers.mask_BT.all() and answers.ids_BT.shape == (3, 4)


def test_scores_do_not_depend_on_what_stands_beyond_the_mask(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, prompts = policy(), make_prompts(2)
    ids = random_ids(4, 6)
    mask = torch.arange(6) < torch.tensor([6, 3, 1, 4])[:, None]
    one = pi.score(prompts, ids, mask)
    two = pi.score(prompts, torch.where(mask, ids, 9), mask)
    torch.testing.assert_close(one.logp_BT[mask], two.logp_BT[mask], atol=1e-6, rtol=0)
    assert two.logp_BT.isfinite().all() and two.values_BT.isfinite().all()


def test_value_is_zero_at_first_then_sees_the_picture_and_never_pulls_the_policy(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, (a, b) = policy(), make_prompts(2, (56, 56))
    b = replace(a, inputs={**a.inputs, "pixel_values": b.inputs["pixel_values"]}, features=None)
    ids, mask = random_ids(1, 5), torch.ones(1, 5, dtype=torch.bool)
    assert (pi.score([a], ids, mask).values_BT == 0).all()

    torch.manual_seed(0)
    torch.nn.init.normal_(pi.value_head.layers[-1].weight)
    values = pi.score([a], ids, mask).values_BT
    assert (values - pi.score([b], ids, mask).values_BT).abs().max() > 1e-3
    values.square().sum().backward()
    assert all(p.grad is None for p in pi.model.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in pi.value_head.parameters())


def test_value_of_a_token_is_read_before_the_token(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, prompts = policy(), make_prompts(1)
    torch.manual_seed(0)
    torch.nn.init.normal_(pi.value_head.layers[-1].weight)
    ids, mask = random_ids(1, 5), torch.ones(1, 5, dtype=torch.bool)
    before = pi.score(prompts, ids, mask).values_BT
    ids[0, 2] += 1
    change = (pi.score(prompts, ids, mask).values_BT - before).abs()[0]
    assert (change[:3] < 1e-6).all() and (change[3:] > 1e-4).all()  # V(s_2) does not know a_2


def test_a_prompt_without_padding_scores_as_inside_a_padded_batch(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, prompts = policy(), make_prompts(3)
    ids, mask = random_ids(3, 5), torch.ones(3, 5, dtype=torch.bool)
    together = pi.score(prompts, ids, mask).logp_BT
    for i, prompt in enumerate(prompts):
        torch.testing.assert_close(
            pi.score([prompt], ids[i : i + 1], mask[:1]).logp_BT[0], together[i], atol=1e-5, rtol=0
        )


def test_entropy_is_of_the_sampled_distribution(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, prompts = policy(temperature=0.7), make_prompts(1)
    ids = random_ids(1, 1)
    logits = plain_model(pi)(**plain_inputs(pi.backbone, prompts[0], [])).logits[0, -1] / 0.7
    logits[[i for i in pi.processor.suppressed_ids if i < len(logits)]] = -torch.inf
    expected = torch.distributions.Categorical(logits=logits).entropy()
    found = pi.score(prompts, ids, torch.ones(1, 1, dtype=torch.bool)).entropy_BT[0, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_bf16_model_keeps_log_probs_and_values_in_fp32(policy: Callable[..., Policy]) -> None:
    pi = policy(dtype="bfloat16")
    assert next(pi.core.parameters()).dtype == torch.bfloat16
    assert {p.dtype for p in pi.value_head.parameters()} == {torch.float32}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_adapter_on_a_bf16_model_is_trained_in_fp32(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], checkpointing: bool
) -> None:
    pi = policy(dtype="bfloat16", adapter={"r": 4}, gradient_checkpointing=checkpointing)
    prompts = make_prompts(3)
    answers = pi.sample(prompts, 2, T, noise=Noise(0))
    said = pi.score(prompts, answers.ids_BT, answers.mask_BT)
    assert said.logp_BT.dtype == said.values_BT.dtype == torch.float32
    drift = (said.logp_BT - answers.logp_BT)[answers.mask_BT].exp().sub(1).abs()
    assert drift.mean() < 0.1  # bf16 rounds; a mistake moves log-probs by more
    said.logp_BT[answers.mask_BT].mean().backward()
    moved = [p for p in pi.body() if p.grad is not None and p.grad.abs().sum() > 0]
    assert moved and {p.dtype for p in pi.body()} == {torch.float32}


def test_a_query_that_names_a_picture_is_refused(
    processor: FamilyProcessor, make_prompts: Callable[..., list[Prompt]]
) -> None:
    record = replace(make_prompts(1)[0].record, query=f"What is {processor.image_token} here ?")
    with pytest.raises(InputError, match="synthetic/0: its query has .* in it, which stands for a picture") as error:
        processor.prompt(Image.new("RGB", (56, 56)), record)
    assert "\n" not in str(error.value)
