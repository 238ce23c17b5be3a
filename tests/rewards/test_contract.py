"""Every reward in conf/reward, found by its yaml: shape, finite, deterministic, and the gold answer scores highest."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from umed.boxes import Box
from umed.chat import Prompt
from umed.methods.credit.gae import GaeCredit
from umed.rewards.total import TotalReward
from umed.rollout import Rollout

CONF = Path(__file__).parents[2] / "conf"
YAMLS = sorted((CONF / "reward").glob("*.yaml"))
EVIDENCE = {
    "text": {"texts", "raw"},
    "boxes": {"boxes"},
    "attention": {"attention_BNP", "region_BP", "name_BN"},
}
ALWAYS = {"prompts"}


def rewards(path: Path) -> dict[str, object]:
    """The parts of one yaml, with the offline judge."""
    judge = OmegaConf.load(CONF / "judge" / "overlap.yaml")
    parts = OmegaConf.create({"judge": judge, "parts": OmegaConf.load(path)})
    return {name: instantiate(part) for name, part in parts.parts.items()}


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
    return make_rollout(
        len(prompts),
        5,
        texts=texts,
        raw=texts,
        boxes=boxes,
        name_BN=named,
        attention_BNP=torch.stack(pad)[:, None] * (named >= 0)[..., None],
        region_BP=region,
    )


def without(rollout: Rollout, kept: set[str]) -> Rollout:
    """Only the evidence a reward asked for."""
    allowed = ALWAYS.union(*(EVIDENCE[need] for need in kept))
    empty = {f.name: None for f in fields(rollout) if f.name not in allowed | {"ids_BT"}}
    return rollout.updated(**empty)


@pytest.fixture
def rollout(make_prompts: Callable[..., list[Prompt]], make_rollout: Callable[..., Rollout]) -> Rollout:
    return answers(make_prompts(3), make_rollout)


def test_there_are_rewards() -> None:
    assert {p.stem for p in YAMLS} >= {"relevance", "localization", "vision_relevance"}


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: p.stem)
def test_the_reward_keeps_the_contract(path: Path, rollout: Rollout) -> None:
    for key, reward in rewards(path).items():
        assert reward.name == key
        assert set(reward.needs) <= set(EVIDENCE)
        values = reward(without(rollout, reward.needs))
        assert values.shape == (15,) and values.dtype == torch.float32 and values.isfinite().all()
        assert torch.equal(values, reward(rollout))
        groups = values.view(3, 5)
        assert (groups[:, 0] == groups.amax(1)).all(), "the gold answer scores highest"
        assert (groups[:, 0:1] > groups[:, 2:]).all(), "and above what is wrong, unreadable or silent"
        assert groups[:, 0].min() > 0


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: p.stem)
def test_no_true_box_and_no_answer_do_no_harm(path: Path, make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2, name_BN=torch.full((4, 0), -1), attention_BNP=torch.zeros(4, 0, 6))
    for p in rollout.prompts:
        p.record = replace(p.record, boxes=())
    rollout = rollout.updated(region_BP=torch.zeros(4, 6))
    for reward in rewards(path).values():
        values = reward(rollout)
        assert values.shape == (4,) and (values == 0).all()


def test_the_sum_of_all_prefers_the_gold_answer(rollout: Rollout) -> None:
    parts = {name: part for path in YAMLS for name, part in rewards(path).items()}
    total = TotalReward(parts, 5)(rollout, GaeCredit()).total_B.view(3, 5)
    assert (total[:, :1] > total[:, 1:]).all()
    torch.testing.assert_close(total[:, 0], torch.full((3,), 3.0))  # 1 for each of the three
