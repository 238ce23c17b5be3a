"""Batches as a pure function of (seed, batch number)."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from umed.chat import Prompt
from umed.data.mau import BatchPlan, MauDataModule, other_categories
from umed.errors import InputError
from umed.models.backbones.qwen2_5_vl import Qwen25VLProcessor


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**40))
def test_each_pass_visits_each_record_once(size: int, batch_size: int, seed: int) -> None:
    plan = BatchPlan(size, batch_size, seed, every=1)
    places = [i for n in range(3 * size) for i in plan.batch(n)]
    for data_pass in range(len(places) // size):
        assert sorted(places[data_pass * size : (data_pass + 1) * size]) == list(range(size))
    assert all(len(plan.batch(n)) == batch_size for n in range(5))


def test_a_batch_is_a_pure_function_of_seed_and_number() -> None:
    one, two = (BatchPlan(50, 8, 3, every=e) for e in (4, 7))
    backwards = [two.batch(n) for n in reversed(range(20))][::-1]
    assert [one.batch(n) for n in range(20)] == backwards
    assert one.batch(0) != BatchPlan(50, 8, 4, every=4).batch(0)
    passes = [[i for n in range(25 * p, 25 * p + 25) for i in BatchPlan(50, 2, 3, 1).batch(n)] for p in (0, 1)]
    assert passes[0] != passes[1]  # reshuffled for every pass


def test_an_epoch_is_the_next_interval_also_after_a_resume() -> None:
    plan = BatchPlan(50, 8, 3, every=4)
    assert len(plan) == 4
    seen = []
    for epoch in range(3):
        plan.set_epoch(epoch)
        seen += list(plan)
    assert seen == [plan.batch(n) for n in range(12)]
    resumed = BatchPlan(50, 8, 3, every=4)
    resumed.set_epoch(2)
    assert list(resumed) == seen[8:]


@pytest.fixture
def module(make_prompts: Callable[..., list[Prompt]], processor: Qwen25VLProcessor, tmp_path: Path) -> MauDataModule:
    """Nine pictures on disk, three of each category; one in three is for validation."""
    from dataclasses import replace

    records = []
    for i, prompt in enumerate(make_prompts(9)):
        record = prompt.record
        pixels = np.full((record.height, record.width, 3), 20 * i, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / record.image)
        records.append(replace(record, split="val" if i % 3 == 2 else "train"))
    return MauDataModule(records, {"synthetic": tmp_path}, processor, batch_size=2, seed=0, every=5, val_samples=2)


def test_training_batches_follow_the_plan(module: MauDataModule) -> None:
    prompts = module.split("train")
    plan = BatchPlan(6, 2, 0, 5)
    batches = list(module.train_dataloader())
    assert [[p.record.id for p in batch] for batch in batches] == [[prompts.records[i].id for i in b] for b in plan]
    assert Counter(p.record.split for batch in batches for p in batch) == {"train": 10}


def test_a_prompt_knows_the_other_categories_of_its_source(module: MauDataModule) -> None:
    prompt = module.split("train")[0]
    assert prompt.record.category == "stone" and prompt.others == ("cyst", "lung nodule")
    assert other_categories(module.records) == {"synthetic": ("cyst", "lung nodule", "stone")}


def test_validation_takes_an_even_part(module: MauDataModule) -> None:
    (batch,) = list(module.val_dataloader())
    assert [p.record.id for p in batch] == ["synthetic/2", "synthetic/5"]
    assert [r.id for r in module.split("train", 4).records] == [f"synthetic/{i}" for i in (0, 1, 4, 6)]
    assert len(module.split("val")) == 3
    with pytest.raises(InputError, match="no record has split=test"):
        module.split("test")
