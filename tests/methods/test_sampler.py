"""The rollout holds what rewards and objective need, each piece at its own answer."""

from collections.abc import Callable

import pytest
import torch

from umed.boxes import Box
from umed.chat import Prompt
from umed.engine.engine import Engine
from umed.methods.sampler import Sampler
from umed.models.backbones.qwen2_5_vl import Qwen25VLProcessor
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.rollout import Answers

ALL = frozenset({"text", "boxes", "attention"})


def say(policy: Policy, answers: list[str], eos: bool = True) -> None:
    """Make the policy say these texts, whatever it is asked."""
    processor = policy.processor
    rows = [
        processor.tokenizer(a, add_special_tokens=False)["input_ids"] + [processor.eos_ids[0]] * eos for a in answers
    ]
    length = max(map(len, rows))
    ids = torch.tensor([r + [processor.pad_id] * (length - len(r)) for r in rows])
    mask = torch.arange(length) < torch.tensor([len(r) for r in rows])[:, None]
    said = Answers(ids, mask, torch.full((len(rows),), not eos), torch.zeros(ids.shape))
    policy.sample = lambda *args, **kwargs: said  # type: ignore[method-assign]


def words(processor: Qwen25VLProcessor, ids: torch.Tensor, where: torch.Tensor) -> list[str]:
    return [processor.decode([i]) for i in ids[where].tolist()]


def test_a_sampled_rollout_is_scored_under_the_policy_that_said_it(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi, prompts = policy(temperature=0.7), make_prompts(3)
    pi.train()
    rollout = Sampler(4, 6)(Engine(pi), prompts, ALL, Noise(0))
    answers = pi.sample(prompts, 4, 6, noise=Noise(0))
    assert torch.equal(rollout.ids_BT, answers.ids_BT) and rollout.num_candidates == 4
    mask = rollout.mask_BT
    torch.testing.assert_close(rollout.logp_BT[mask], answers.logp_BT[mask], atol=1e-5, rtol=0)
    assert pi.training and not rollout.logp_BT.requires_grad and not rollout.values_BT.requires_grad
    assert rollout.group_B.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    for b, q in enumerate(rollout.group_B.tolist()):
        region = prompts[q].region
        assert torch.equal(rollout.region_BP[b, : len(region)], region)
        assert rollout.region_BP[b, len(region) :].isnan().all()


def test_texts_boxes_and_spans_belong_to_their_tokens(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: Qwen25VLProcessor
) -> None:
    pi, prompts = policy(), make_prompts(2, (56, 56))
    written = processor.write_boxes([Box(0.25, 0.5, 0.75, 1.0)], "stone", prompts[0].view)
    boxed = f"A stone is seen at {written}."
    say(pi, [boxed, "é A stone .", "No cyst . A lung nodule .", ""])
    rollout = Sampler(2)(Engine(pi), prompts, ALL, Noise(0))
    assert rollout.raw[0] == boxed
    assert rollout.texts == ["A stone is seen at.", "é A stone.", "No cyst. A lung nodule.", ""]
    assert rollout.boxes == [[Box(0.25, 0.5, 0.75, 1.0)], None, None, None]
    named = [words(processor, rollout.ids_BT[b], rollout.name_span_BT[b]) for b in range(4)]
    assert [[w.strip() for w in n] for n in named[1:]] == [["stone"], ["lung", "nodule"], []]
    assert named[0][0] == " stone"  # and the label of the box
    assert "".join(words(processor, rollout.ids_BT[0], rollout.box_span_BT[0])) == written.removesuffix('stone"}]')
    assert not rollout.box_span_BT[1:].any()


def test_nothing_of_a_thought_counts(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: Qwen25VLProcessor
) -> None:
    """Neither its boxes nor its names nor its words, and it keeps its tokens: the rest stays at its places."""
    pi, prompts = policy(), make_prompts(1, (56, 56))
    gold, whole = (
        processor.write_boxes([b], "stone", prompts[0].view) for b in (Box(0.25, 0.5, 0.75, 1), Box(0, 0, 1, 1))
    )
    thought = f"<think>A stone or a cyst at {whole}?</think>"
    said = [f"{thought} A stone at {gold}", f"A stone at {gold}", f"A cyst.</think> A stone at {gold}", thought[:-8]]
    say(pi, said)
    rollout = Sampler(4)(Engine(pi), prompts, ALL, Noise(0))
    assert rollout.raw == said and rollout.texts == ["A stone at"] * 3 + [""]
    assert rollout.boxes == [[Box(0.25, 0.5, 0.75, 1)]] * 3 + [None]
    for spans in (rollout.box_span_BT, rollout.name_span_BT):
        tokens = ["".join(words(processor, rollout.ids_BT[b], spans[b])) for b in range(4)]
        assert tokens[0] == tokens[1] == tokens[2] != "" and tokens[3] == ""
    assert [len(row[row >= 0]) for row in rollout.name_BN] == [2, 2, 2, 0]  # the name and the label of the box
    assert rollout.means()["rollout/thought_removed"] == 0.75 and rollout.means()["rollout/unparsed"] == 0.25
    looked = Sampler(4, looking="answer")(Engine(pi), prompts, ALL, Noise(0)).name_BN
    answers = [rollout.ids_BT[b][looked[b][looked[b] >= 0] - 1].tolist() for b in range(4)]
    assert [processor.decode(ids).strip() for ids in answers] == [f"A stone at {gold}"] * 3 + [""]


def test_an_answer_without_a_box_is_right_of_a_normal_picture(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    make_control: Callable[..., Prompt],
    processor: Qwen25VLProcessor,
) -> None:
    """Not unparsed, as one is whose box cannot be read; a normal picture has no name whose attention counts."""
    pi, prompts = policy(), [*make_prompts(1, (56, 56)), make_control(1)]
    written = processor.write_boxes([Box(0.25, 0.5, 0.75, 1.0)], "cyst", prompts[1].view)
    unreadable = '[{"bbox_2d":[9,9,1,1]}]'
    say(pi, ["A stone .", "", unreadable, "The image is normal .", f"A cyst is seen at {written}", unreadable])
    rollout = Sampler(3)(Engine(pi), prompts, ALL, Noise(0))
    assert rollout.boxes == [None, None, None, [], [Box(0.25, 0.5, 0.75, 1.0)], None]
    assert rollout.means()["rollout/unparsed"] == pytest.approx(4 / 6)
    assert (rollout.name_BN >= 0).any(1).tolist() == [True] + [False] * 5
    assert rollout.name_span_BT.any(1).tolist() == [True, False, False, True, True, False]
    assert (rollout.region_BP[3:] == 0).all()


@pytest.mark.parametrize("family", ["qwen2_5_vl"], indirect=True)  # its boxes depend on the picture's own view
def test_each_answer_is_read_in_the_view_of_its_own_picture(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: Qwen25VLProcessor
) -> None:
    pi, prompts = policy(), make_prompts(2, (56, 56), (112, 56))
    half = Box(0, 0, 0.5, 1)
    say(pi, [processor.write_boxes([half], "stone", p.view) for p in prompts for _ in range(2)])
    assert Sampler(2)(Engine(pi), prompts, ALL, Noise(0)).boxes == [[half]] * 4


def test_dropout_of_a_policy_in_training_does_not_reach_the_scores(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi = policy(adapter={"target_modules": "all-linear", "lora_dropout": 0.5, "init_lora_weights": False}).train()
    rollout = Sampler(2, 6)(Engine(pi), make_prompts(2), ALL, Noise(0))
    expected = pi.sample(rollout.prompts, 2, 6, noise=Noise(0))
    mask = rollout.mask_BT
    torch.testing.assert_close(rollout.logp_BT[mask], expected.logp_BT[mask], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("row", "offset"), [("token", 1), ("predictor", 0)])
def test_attention_is_read_at_the_gold_names_tokens(
    policy: Callable[..., Policy],
    make_prompts: Callable[..., list[Prompt]],
    processor: Qwen25VLProcessor,
    row: str,
    offset: int,
) -> None:
    """Reading R4; prompt 0 is about a stone, prompt 1 about a cyst."""
    pi, prompts = policy(), make_prompts(2)
    say(pi, ["A stone . A stone .", "A cyst .", "A stone .", "No cyst . A cyst ."])
    rollout = Sampler(2, row=row)(Engine(pi), prompts, ALL, Noise(0))
    stones, cysts = (
        [t for t, i in enumerate(rollout.ids_BT[b].tolist()) if processor.decode([i]) == word]
        for b, word in ((0, " stone"), (3, " cyst"))
    )
    assert len(stones) == len(cysts) == 2
    assert rollout.name_BN.tolist() == [
        [t + offset for t in stones],
        [-1, -1],
        [-1, -1],
        [cysts[1] + offset, -1],  # the first one is negated
    ]
    assert rollout.attention_BNP.shape == (4, 2, 8)
    assert (rollout.attention_BNP[[1, 2]] == 0).all() and (rollout.attention_BNP[3, 1] == 0).all()
    assert (rollout.attention_BNP[0].sum(-1) > 0).all() and (rollout.attention_BNP[3, 0].sum() > 0).all()
    expected = pi.score(prompts, rollout.ids_BT, rollout.mask_BT, rollout.name_BN).attention_BNP
    torch.testing.assert_close(rollout.attention_BNP, expected.detach())


def test_the_attention_of_every_answer_token_can_be_read(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi = policy()
    say(pi, ["A stone .", "A"])
    rollout = Sampler(2, looking="answer")(Engine(pi), make_prompts(1), ALL, Noise(0))
    lengths = rollout.mask_BT.sum(1).tolist()
    assert rollout.name_BN.tolist() == [list(range(1, n + 1)) + [-1] * (max(lengths) - n) for n in lengths]
    assert (rollout.attention_BNP.sum(-1) > 0).tolist() == (rollout.name_BN >= 0).tolist()


def test_a_run_without_attention_does_not_pay_for_it(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi = policy()
    say(pi, ["A stone .", "A stone ."])
    rollout = Sampler(2)(Engine(pi), make_prompts(1), frozenset({"text"}), Noise(0))
    assert rollout.attention_BNP.numel() == 0


def test_an_answer_that_no_one_named_has_no_rows(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]
) -> None:
    pi = policy()
    say(pi, ["A", "A"])
    rollout = Sampler(2)(Engine(pi), make_prompts(1), ALL, Noise(0))
    assert rollout.attention_BNP.shape == (2, 0, 4)


def test_an_answer_whose_text_encodes_otherwise_keeps_its_ids(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], processor: Qwen25VLProcessor
) -> None:
    pi = policy()
    spelled = [processor.tokenizer.convert_tokens_to_ids(c) for c in "stone"]  # letters, not the word's own token
    say(pi, ["A", "A"])
    said = pi.sample()
    said.ids_BT, said.mask_BT = torch.tensor([spelled] * 2), torch.ones(2, 5, dtype=torch.bool)
    rollout = Sampler(2)(Engine(pi), make_prompts(1), ALL, Noise(0))
    assert rollout.ids_BT[0].tolist() == spelled and rollout.raw[0] == "stone"
    assert rollout.name_BN.tolist() == [[1, 2, 3, 4, 5]] * 2  # all letters of the name


def test_stats(policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]]) -> None:
    pi = policy()
    say(pi, ['[{"bbox_2d":[0,0,9,9]}]', "A"], eos=False)
    rollout = Sampler(2)(Engine(pi), make_prompts(1), ALL, Noise(0))
    lengths = rollout.mask_BT.sum(1).float()
    gap = (pi.sample().logp_BT - rollout.logp_BT).abs()[rollout.mask_BT]
    assert rollout.means() == {
        "rollout/logp_gap": pytest.approx(float(gap.mean())),
        "rollout/logp_gap_max": float(gap.max()),
        "rollout/unparsed": 0.5,
        "rollout/thought_removed": 0.0,
        "rollout/length": float(lengths.mean()),
        "rollout/truncated": 1.0,
    }
