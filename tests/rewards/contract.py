"""What every reward must keep; `test_contract.py` applies it to each yaml, and to a stranger's reward."""

from collections.abc import Callable
from dataclasses import fields, replace

import torch

from umed.boxes import Box
from umed.chat import Prompt
from umed.rewards.base import Reward, check_reward
from umed.rollout import Rollout

EVIDENCE = {
    "text": {"texts", "raw"},
    "boxes": {"boxes"},
    "attention": {"attention_BNP", "region_BP", "name_BN"},
}
ALWAYS = {"prompts", "ids_BT", "mask_BT", "truncated_B"}


def answers(prompts: list[Prompt], make_rollout: Callable[..., Rollout]) -> Rollout:
    """For each query: the gold answer, one with a shifted box, another category, nothing readable, and silence."""
    texts, boxes, names, maps = [], [], [], []
    for p in prompts:
        inside = (p.region * 0.9 + 0.01) / (p.region * 0.9 + 0.01).sum()
        flat = torch.full_like(inside, 1 / len(inside))
        outside = (1 - p.region) / (1 - p.region).sum()
        other = p.gold.replace(p.record.category, p.others[0])
        moved = [Box(b.x0 * 0.8, b.y0 * 0.8, b.x1 * 0.8, b.y1 * 0.8) for b in p.record.boxes]
        texts += [p.gold, p.gold, other, "...", ""]
        boxes += [list(p.record.boxes), moved, [Box(0, 0, 1, 1)], None, None]
        names += [[1], [1], [-1], [-1], [-1]]
        maps += [inside, flat, outside, flat, flat]
    width = max(len(p.region) for p in prompts)
    pad = [torch.nn.functional.pad(m, (0, width - len(m))) for m in maps]
    named = torch.tensor(names)
    region = torch.nn.utils.rnn.pad_sequence([p.region for p in prompts for _ in range(5)], True, torch.nan)
    attention = torch.stack(pad)[:, None] * (named >= 0)[..., None]
    evidence = {"texts": texts, "raw": texts, "boxes": boxes, "region_BP": region}
    return make_rollout(len(prompts), 5, name_BN=named, attention_BNP=attention, **evidence)


def answers_to_controls(prompts: list[Prompt], make_rollout: Callable[..., Rollout]) -> Rollout:
    """For each normal picture: the gold answer, the same with a box, an abnormality with one and without, silence."""
    texts: list[str] = []
    for p in prompts:
        named = f"There is an abnormality. It is small. The finding is {p.others[0]}."
        texts += [p.gold, p.gold, named, named, ""]
    boxes = [[], [Box(0, 0, 0.5, 0.5)], [Box(0, 0, 0.5, 0.5)], [], []] * len(prompts)
    region = torch.nn.utils.rnn.pad_sequence([p.region for p in prompts for _ in range(5)], True, torch.nan)
    attention = torch.full((len(texts), 1, region.shape[1]), 1 / region.shape[1])
    evidence = {"texts": texts, "raw": texts, "boxes": boxes, "region_BP": region, "attention_BNP": attention}
    return make_rollout(len(prompts), 5, prompts=prompts, name_BN=torch.ones(len(texts), 1).long(), **evidence)


def keeps_the_contract_on_controls(reward: Reward, rollout: Rollout) -> None:
    """On `answers_to_controls`: it does not apply to any answer, or nothing scores higher than the gold answer."""
    values = reward(without(rollout, reward.needs)).view(-1, 5)
    assert (values.isnan().all(1) | values.isfinite().all(1)).all()
    assert (values[:, 0] == values.amax(1))[~values[:, 0].isnan()].all()


def without(rollout: Rollout, kept: frozenset[str]) -> Rollout:
    """Only the evidence that a reward asked for."""
    allowed = ALWAYS.union(*(EVIDENCE[need] for need in kept))
    return rollout.updated(**{f.name: None for f in fields(rollout) if f.name not in allowed})


def keeps_the_contract(key: str, reward: Reward, rollout: Rollout) -> None:
    """On `answers`: shape, finite, deterministic, and the gold answer scores highest, or ties where it says so."""
    check_reward(key, reward)
    values = reward(without(rollout, reward.needs))
    assert values.shape == (len(rollout.ids_BT),) and values.isfinite().all()
    assert torch.equal(values, reward(rollout)), "it reads what it does not ask for, or is not deterministic"
    groups = values.view(-1, 5)
    assert (groups[:, 0] == groups.amax(1)).all(), "the gold answer scores highest"
    if not reward.gold_ties:
        assert (groups[:, 0:1] > groups[:, 2:]).all(), "and above what is wrong, unreadable or silent"
        assert groups[:, 0].min() > 0


def survives_nothing(reward: Reward, make_rollout: Callable[..., Rollout]) -> None:
    """No true box, no name, no text, no attention: nothing is earned, or it does not apply."""
    rollout = make_rollout(2, 2, name_BN=torch.full((4, 0), -1), attention_BNP=torch.zeros(4, 0, 6))
    prompts = [replace(p, record=replace(p.record, boxes=())) for p in rollout.prompts]
    values = reward(rollout.updated(prompts=prompts, region_BP=torch.zeros(4, 6)))
    assert values.shape == (4,) and not values.isinf().any()
    assert reward.gold_ties or (values.nan_to_num(0.0) == 0).all()
