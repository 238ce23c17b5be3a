"""The answers to one query stay together."""

from collections.abc import Callable
from dataclasses import fields

import pytest
import torch

from umed.rollout import Rollout, TrainingBatch


def marked(make_rollout: Callable[..., Rollout], queries: int, candidates: int) -> Rollout:
    """Every answer carries its query's number everywhere."""
    rollout = make_rollout(queries, candidates)
    group = rollout.group_B
    return rollout.updated(
        texts=[str(q) for q in group.tolist()],
        reward_B=group.float(),
        maxima={"a": group},
        ids_BT=group[:, None] * torch.ones(1, 3, dtype=int),
    )


def test_taking_queries_takes_their_answers(make_rollout: Callable[..., Rollout]) -> None:
    rollout = marked(make_rollout, 4, 3)
    part = rollout.take([2, 0])
    assert [p.record.id for p in part.prompts] == ["synthetic/2", "synthetic/0"]
    assert part.texts == ["2"] * 3 + ["0"] * 3
    assert part.reward_B.tolist() == [2, 2, 2, 0, 0, 0] and part.ids_BT[:, 0].tolist() == [2, 2, 2, 0, 0, 0]
    assert part.maxima["a"].tolist() == [2, 2, 2, 0, 0, 0]
    assert part.num_candidates == 3 and part.group_B.tolist() == [0, 0, 0, 1, 1, 1]


def test_each_pass_sees_each_query_once_in_a_new_order(make_rollout: Callable[..., Rollout]) -> None:
    rollout = marked(make_rollout, 6, 2)

    def order(seed: int) -> list[list[str]]:
        parts = rollout.minibatches(3, 2, torch.Generator().manual_seed(seed))
        return [[p.record.id for p in part.prompts] for part in parts]

    found = order(0)
    assert len(found) == 6 and all(len(ids) == 3 for ids in found)
    passes = [found[i] + found[i + 1] for i in (0, 2, 4)]
    assert all(sorted(ids) == sorted(p.record.id for p in rollout.prompts) for ids in passes)
    assert passes[0] != passes[1]
    assert order(0) == found and order(1) != found


@pytest.mark.parametrize(
    ("queries", "count", "sizes"), [(6, 4, [1, 1, 2, 2]), (6, 3, [2, 2, 2]), (5, 2, [2, 3]), (2, 4, [1, 1])]
)
def test_there_are_as_many_minibatches_as_asked_for(
    make_rollout: Callable[..., Rollout], queries: int, count: int, sizes: list[int]
) -> None:
    """Even where the queries cannot be divided by their number."""
    parts = list(make_rollout(queries, 2).minibatches(1, count, torch.Generator().manual_seed(0)))
    assert sorted(len(p.prompts) for p in parts) == sizes
    assert sorted(p.record.id for part in parts for p in part.prompts) == [f"synthetic/{q}" for q in range(queries)]


def test_a_training_batch_is_its_rollout_and_more(make_rollout: Callable[..., Rollout]) -> None:
    made = make_rollout(2, 2)
    plain = Rollout(**{f.name: getattr(made, f.name) for f in fields(Rollout)})
    added = {f.name: getattr(made, f.name) for f in fields(made) if not hasattr(plain, f.name)}
    mask = torch.zeros_like(made.mask_BT)
    batch = TrainingBatch.of(plain, **added, mask_BT=mask)
    assert batch.mask_BT is mask and batch.logp_BT is made.logp_BT and batch.returns_BT is made.returns_BT
    with pytest.raises(TypeError, match="advantages_BT"):
        TrainingBatch.of(plain)


def test_texts_of_the_queries(make_rollout: Callable[..., Rollout]) -> None:
    rollout = make_rollout(2, 2)
    assert rollout.golds == ["A stone is seen at.", "A cyst is seen at."]
    assert rollout.others[0] == ("cyst", "lung nodule") and rollout.records[1].category == "cyst"
