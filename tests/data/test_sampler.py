"""Batches whose classes take turns, and what Lightning really hands to a training step."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence

import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Sampler

from umed.boxes import Box
from umed.data.sampler import BatchPlan, PlacedBatches, group_positions
from umed.errors import InputError
from umed.records import Record


def record(number: int, source: str, category: str) -> Record:
    return Record(f"{source}/{number}", source, "x.png", 9, 9, (Box(0, 0, 1, 1),), category, "CT", f"g{number}")


def classes(sizes: Sequence[int]) -> list[list[int]]:
    starts = [sum(sizes[:k]) for k in range(len(sizes))]
    return [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def digest(plan: BatchPlan) -> str:
    return hashlib.sha256(json.dumps([plan.batch(n) for n in range(100)]).encode()).hexdigest()[:16]


def test_batches_are_the_same_in_every_version_and_process() -> None:
    assert digest(BatchPlan(37, 8, 5, 4)) == "98d3d176bd0c9943"
    assert digest(BatchPlan(37, 8, 5, 4, classes([30, 5, 2]))) == "09398fab264b9778"


def test_the_natural_order_is_one_shuffle_a_pass() -> None:
    plan = BatchPlan(37, 8, 5, 4)
    for data_pass in (0, 1, 7):
        shuffled = torch.randperm(37, generator=torch.Generator().manual_seed(5 * 1_000_003 + data_pass)).tolist()
        assert [plan._find_record(37 * data_pass + k) for k in range(37)] == shuffled


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 12), st.integers(0, 2**40))
def test_classes_take_turns_and_visit_their_records_once_a_pass(sizes: list[int], batch_size: int, seed: int) -> None:
    own = classes(sizes)
    plan = BatchPlan(sum(sizes), batch_size, seed, 1, own)
    cycles = 3 * max(sizes)
    places = [i for n in range(-(-cycles * len(sizes) // batch_size)) for i in plan.batch(n)][: cycles * len(sizes)]
    of = {i: k for k, members in enumerate(own) for i in members}
    for c in range(cycles):
        assert sorted(of[i] for i in places[c * len(sizes) : (c + 1) * len(sizes)]) == list(range(len(sizes)))
    for members in own:
        visits = [i for i in places if i in set(members)]
        for data_pass in range(len(visits) // len(members)):
            assert sorted(visits[data_pass * len(members) : (data_pass + 1) * len(members)]) == members


def test_order_of_classes_and_of_their_records_changes_from_cycle_to_cycle() -> None:
    plan = BatchPlan(60, 3, 0, 1, classes([20, 20, 20]))
    cycles = [tuple(i // 20 for i in plan.batch(n)) for n in range(40)]
    assert set(Counter(cycles)) == {
        (a, b, c) for a in range(3) for b in range(3) for c in range(3) if {a, b, c} == {0, 1, 2}
    }
    passes = [[i for n in range(20 * p, 20 * p + 20) for i in plan.batch(n) if i < 20] for p in (0, 1)]
    assert passes[0] != passes[1] and passes[0] != sorted(passes[0])
    other = [[i % 20 for n in range(20) for i in plan.batch(n) if i // 20 == k] for k in range(3)]
    assert len({tuple(order) for order in other}) == 3  # each class has its own order


def test_a_balanced_batch_is_a_pure_function_of_seed_and_number() -> None:
    one, two = (BatchPlan(50, 8, 3, every, classes([40, 9, 1])) for every in (4, 7))
    assert [one.batch(n) for n in range(30)] == [two.batch(n) for n in reversed(range(30))][::-1]
    assert one.batch(0) != BatchPlan(50, 8, 4, 4, classes([40, 9, 1])).batch(0)


def test_sources_or_categories_are_the_classes() -> None:
    records = [record(k, "ab"[k % 2], "xyz"[k % 3]) for k in range(12)]
    assert group_positions(records, "natural") is None
    assert group_positions(records, "by_source") == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]
    assert group_positions(records, "by_category") == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    with pytest.raises(InputError, match="data.sampler=by_size: choose natural, by_source or by_category"):
        group_positions(records, "by_size")


class Seen(L.LightningModule):
    """Notes the batches that its training steps get."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches: list[list[object]] = []

    def training_step(self, batch: list[object], _: int) -> torch.Tensor:
        self.batches.append(batch)
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Echo(torch.utils.data.Dataset[object]):
    def __getitem__(self, key: object) -> object:
        return key


@pytest.mark.parametrize("wrap", [lambda plan: plan, PlacedBatches])
@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:`training_step` returned")
def test_lightning_goes_on_in_the_plan_after_each_epoch_and_after_a_resume(
    wrap: type[Sampler], tmp_path: object
) -> None:
    def trained(epochs: int, resume: str | None = None) -> list[list[object]]:
        module, plan = Seen(), BatchPlan(20, 3, 0, every=2, classes=classes([15, 5]))
        loader = DataLoader(Echo(), batch_sampler=wrap(plan), collate_fn=list)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = L.Trainer(
            max_epochs=epochs, accelerator="cpu", enable_model_summary=False, use_distributed_sampler=False, **quiet
        )
        trainer.fit(module, loader, ckpt_path=resume)
        trainer.save_checkpoint(f"{tmp_path}/{epochs}.ckpt")
        return module.batches

    whole = trained(4)
    plan = BatchPlan(20, 3, 0, every=2, classes=classes([15, 5]))
    keys = [plan.batch(n) for n in range(8)]
    if wrap is PlacedBatches:
        keys = [list(zip(batch, range(3 * n, 3 * n + 3), strict=True)) for n, batch in enumerate(keys)]
    assert whole == keys
    trained(2)
    assert trained(4, f"{tmp_path}/2.ckpt") == whole[4:]
