"""Batches as a pure function of (seed, batch number)."""

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from composed import composed
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from umed.boxes import Box
from umed.chat import Prompt
from umed.data.mau import BatchPlan, MauDataModule, Prompts, list_categories
from umed.errors import InputError
from umed.models.family import FamilyProcessor
from umed.records import RecordSet
from umed.training_data import datamodule_of, keep_fraction


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
def module(make_prompts: Callable[..., list[Prompt]], processor: FamilyProcessor, tmp_path: Path) -> MauDataModule:
    """Nine pictures on disk, three of each category; one in three is for validation."""
    records = []
    for i, prompt in enumerate(make_prompts(9)):
        record = prompt.record
        pixels = np.full((record.height, record.width, 3), 20 * i, dtype=np.uint8)
        pixels[:, : record.width // 2] += 9  # left and right differ
        Image.fromarray(pixels).save(tmp_path / record.image)
        box = Box(0.1, 0.6, 0.4, 0.9)
        records.append(replace(record, boxes=(box,), split="val" if i % 3 == 2 else "train"))
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
    assert list_categories(module.records) == {"synthetic": ("cyst", "lung nodule", "stone")}


def test_what_the_picture_shows_too_is_no_other_category(module: MauDataModule) -> None:
    first = module.records[0]
    again = replace(first, id="synthetic/0#2", category="cyst")
    prompts = Prompts([first, again], module.roots, module.processor, [*module.records, again])
    assert [prompts[k].others for k in (0, 1)] == [("lung nodule",)] * 2


def test_validation_takes_an_even_part(module: MauDataModule) -> None:
    (batch,) = list(module.val_dataloader())
    assert [p.record.id for p in batch] == ["synthetic/2", "synthetic/5"]
    assert [r.id for r in module.split("train", 4).records] == [f"synthetic/{i}" for i in (0, 1, 4, 6)]
    assert len(module.split("val")) == 3
    with pytest.raises(InputError, match="no record has split=test"):
        module.split("test")


def rebuilt(module: MauDataModule, **options: Any) -> MauDataModule:
    """The same data with other options."""
    sizes: dict[str, Any] = {"batch_size": 2, "seed": 0, "every": 5, "val_samples": 2}
    return MauDataModule(module.records, module.roots, module.processor, **sizes, **options)


def same(one: Prompt, other: Prompt) -> bool:
    tensors = one.inputs.keys() == other.inputs.keys() and all(
        torch.equal(one.inputs[k], other.inputs[k]) for k in one.inputs
    )
    return (
        tensors and one.record == other.record and torch.equal(one.answer, other.answer) and one.others == other.others
    )


def test_each_category_has_its_turn(module: MauDataModule) -> None:
    records = [r for r in module.records if r.category != "cyst" or r.id == "synthetic/1"]
    balanced = MauDataModule(
        records, module.roots, module.processor, batch_size=3, seed=0, every=6, val_samples=2, sampler="by_category"
    )
    trained = {r.category for r in records if r.split == "train"}
    batches = [[p.record.category for p in batch] for batch in balanced.train_dataloader()]
    assert len(trained) == 2 and Counter(c for batch in batches for c in batch) == dict.fromkeys(trained, 9)


def test_flips_are_of_training_records_and_reach_picture_boxes_and_answer(module: MauDataModule) -> None:
    flipped = rebuilt(module, augment={"horizontal_flip": 1.0, "vertical_flip": 0.0})
    plain = rebuilt(module)
    for batch, other in zip(flipped.train_dataloader(), plain.train_dataloader(), strict=True):
        for prompt, before in zip(batch, other, strict=True):
            assert prompt.record.id == before.record.id
            assert [b.x0 for b in prompt.record.boxes] == [1 - b.x1 for b in before.record.boxes]
            rows = before.region.view(before.view.grids[0].rows, before.view.grids[0].columns)
            assert torch.allclose(prompt.region.view(rows.shape), rows.flip(1), atol=1e-6)
            said = module.processor.decode(prompt.answer.tolist())
            [box] = module.processor.read_boxes(said, prompt.view) or []
            assert box.center == pytest.approx(prompt.record.boxes[0].center, abs=0.01)
            assert not torch.equal(prompt.inputs["pixel_values"], before.inputs["pixel_values"])
    for one, other in zip(flipped.val_dataloader(), plain.val_dataloader(), strict=True):
        assert all(same(a, b) for a, b in zip(one, other, strict=True))


def test_flips_stay_with_their_place_after_a_resume(module: MauDataModule) -> None:
    often = rebuilt(module, augment={"horizontal_flip": 0.5, "vertical_flip": 0.5})
    loader = often.train_dataloader()
    epochs = []
    for epoch in range(3):
        loader.batch_sampler.sampler.set_epoch(epoch)
        epochs.append(list(loader))
    resumed = rebuilt(module, augment={"horizontal_flip": 0.5, "vertical_flip": 0.5}).train_dataloader()
    resumed.batch_sampler.sampler.set_epoch(2)
    for one, other in zip(epochs[2], resumed, strict=True):
        assert all(same(a, b) for a, b in zip(one, other, strict=True))
    kinds = {(p.record.id, p.record.boxes) for batches in epochs for batch in batches for p in batch}
    assert len(kinds) > 2 * len({id for id, _ in kinds})  # one record is flipped now, and not another time


def test_no_picture_is_held(module: MauDataModule) -> None:
    """A picture is opened when its record is asked for, and forgotten."""
    prompts = module.split("train")
    held = {name: value for name, value in vars(prompts).items() if name != "processor"}
    before = len(pickle.dumps(held))
    assert all(prompts[i].inputs["pixel_values"].numel() > 1000 for i in range(len(prompts)))
    assert vars(prompts).keys() - held.keys() == {"processor"} and len(pickle.dumps(held)) == before < 5000
    path = module.roots["synthetic"] / prompts.records[0].image
    first = prompts[0].inputs["pixel_values"]
    Image.new("RGB", (prompts.records[0].width, prompts.records[0].height), "white").save(path)
    assert not torch.equal(prompts[0].inputs["pixel_values"], first)
    path.unlink()
    with pytest.raises(InputError, match="no picture"):
        prompts[0]


@pytest.mark.parametrize("flip", [0.0, 0.5])
def test_workers_give_the_same_batches(module: MauDataModule, flip: float) -> None:
    options = {"sampler": "by_category", "augment": {"horizontal_flip": flip, "vertical_flip": flip}}
    alone = rebuilt(module, **options).train_dataloader()
    two = rebuilt(module, num_workers=2, prefetch=3, **options).train_dataloader()
    assert (two.num_workers, two.prefetch_factor) == (2, 3)
    for epoch in range(2):
        for loader in (alone, two):
            loader.batch_sampler.sampler.set_epoch(epoch)
        for one, other in zip(alone, two, strict=True):
            assert all(same(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_workers": -1}, "data.num_workers=-1"),
        ({"prefetch": 0}, "data.prefetch=0"),
        ({"sampler": "even"}, "data.sampler=even"),
        ({"augment": {"horizontal_flip": 2, "vertical_flip": 0}}, "data.augment.horizontal_flip=2"),
    ],
)
def test_an_option_that_cannot_be_is_told_before_training(module: MauDataModule, options: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        rebuilt(module, **options)


def test_the_config_reaches_the_data_module(module: MauDataModule, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["data.sampler=by_category", "data.fraction=0.5", "data.augment.vertical_flip=1", "data.num_workers=1"]
    cfg = composed(*options, "data.prefetch=4")
    data = keep_fraction(cfg, RecordSet(module.records, module.roots))
    assert Counter(r.split for r in data.records) == {"train": 3, "val": 3}
    assert capsys.readouterr().out == "data.fraction=0.5: 3 train records left out\n"
    made = datamodule_of(cfg, data, batch_size=2, every=1)
    assert (made.sampler, made.flips and made.flips.vertical) == ("by_category", 1)
    assert made.workers == {"num_workers": 1, "prefetch_factor": 4}
