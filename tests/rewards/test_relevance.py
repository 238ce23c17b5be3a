from threading import Event
from types import SimpleNamespace

import torch

from umed.judges.base import JudgeItem, Verdict
from umed.judges.overlap import OverlapJudge
from umed.records import Record
from umed.rewards.relevance import RelevanceReward


def record(category: str) -> Record:
    return Record(
        id=category, source="phantom", image="a.png", width=8, height=8, boxes=(), category=category, modality="CT",
        group="g", query=f"What is the {category}?",
    )  # fmt: skip


def rollout(*texts: str) -> SimpleNamespace:
    """Two queries, half of the answers to each."""
    return SimpleNamespace(
        texts=list(texts),
        records=[record("stone"), record("cyst")],
        group_B=torch.arange(2).repeat_interleave(len(texts) // 2),
        golds=["a stone on the left", "a cyst on the right"],
        others=[("cyst",), ("stone",)],
    )


class Fake:
    """Keeps the items; gives the verdicts it was told."""

    def __init__(self, *scores: float | None) -> None:
        self.scores = scores

    def __call__(self, items: list[JudgeItem]) -> list[Verdict]:
        self.items = list(items)
        return [Verdict(s) for s in self.scores]


def test_each_answer_is_judged_against_its_own_query() -> None:
    judge = Fake(0.1, 0.2, 0.3, 0.4)
    values = RelevanceReward(judge)(rollout("s1", "s2", "c1", "c2"))
    assert values.dtype == torch.float32
    assert torch.equal(values, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert judge.items[1] == JudgeItem("What is the stone?", "a stone on the left", "s2", "stone", ("cyst",))
    assert judge.items[2] == JudgeItem("What is the cyst?", "a cyst on the right", "c1", "cyst", ("stone",))


def test_a_failed_judge_is_nan_and_never_zero() -> None:
    values = RelevanceReward(Fake(0.0, None, 1.0, None))(rollout("a", "b", "c", "d"))
    assert values.isnan().tolist() == [False, True, False, True]
    assert values[0] == 0.0 and values[2] == 1.0


def test_the_gold_answer_scores_highest_and_the_weight_is_left_to_the_total() -> None:
    answers = ("a stone on the left", "a cyst on the left", "", "a cyst on the right")
    values = RelevanceReward(OverlapJudge(), weight=3.0)(rollout(*answers))
    assert values[0] == values[3] == values.max() == 1.0
    assert values[2] == 0.0
    assert RelevanceReward(OverlapJudge(), weight=3.0).weight == 3.0


def test_a_judge_scores_its_text() -> None:
    reward = RelevanceReward(Fake())
    assert reward.judged and reward.needs == {"text"} and not reward.max_normalized  # R14: in (7) only the others are


class Blocked:
    """Waits for `go`; an answer scores its length."""

    waits = True

    def __init__(self) -> None:
        self.go, self.asked = Event(), []

    def __call__(self, items: list[JudgeItem]) -> list[Verdict]:
        assert self.go.wait(20)
        self.asked.append(list(items))
        return [Verdict(len(item.answer) / 10) for item in items]


def prompts() -> list[SimpleNamespace]:
    """Those of `rollout`."""
    of = rollout("", "")
    parts = zip(of.records, of.golds, of.others, strict=True)
    return [SimpleNamespace(record=record, gold=gold, others=others) for record, gold, others in parts]


def test_what_was_begun_is_what_is_given() -> None:
    judge, texts = Blocked(), ["s", "s2", "c10", "c200"]
    reward = RelevanceReward(judge)
    reward.begin(prompts(), texts)  # returns while the judge is blocked
    judge.go.set()
    values = reward(rollout(*texts))
    assert len(judge.asked) == 1
    assert torch.equal(values, RelevanceReward(judge)(rollout(*texts)))
    assert judge.asked[0] == judge.asked[1], "each answer with its own query"


def test_other_answers_than_begun_are_judged() -> None:
    judge = Blocked()
    judge.go.set()
    reward = RelevanceReward(judge)
    reward.begin(prompts(), ["a", "b", "c", "d"])
    assert torch.equal(reward(rollout("aa", "b", "c", "d")), torch.tensor([0.2, 0.1, 0.1, 0.1]))
