"""The made-up model and its work are what the shapes say."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from small import SMALL

from umed.bench.checkpoint import made_up_words, write_checkpoint
from umed.bench.job import Job
from umed.bench.turns import prepare
from umed.bench.workload import draw_pictures, make_records
from umed.models.backbones.qwen2_5_vl import Qwen25VLProcessor
from umed.pictures import picture_of


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "model"
    assert write_checkpoint(SMALL, folder) > 1024 * 64
    return folder


def test_prompts_and_answers_have_the_tokens_of_the_shape(checkpoint: Path, tmp_path: Path) -> None:
    draw_pictures(SMALL, tmp_path, 3)
    data = make_records(SMALL, tmp_path, 3)
    processor = Qwen25VLProcessor(str(checkpoint))
    assert len(processor.tokenizer) == SMALL.vocabulary
    prompts = [processor.prompt(picture_of(r, data.roots), r) for r in data.records]
    assert {p.view.tokens for p in prompts} == {12} and {len(p.answer) for p in prompts} == {5}
    assert len({len(p.inputs["input_ids"]) for p in prompts}) == 1
    assert not torch.equal(prompts[0].inputs["input_ids"], prompts[1].inputs["input_ids"])
    assert not torch.equal(prompts[0].inputs["pixel_values"], prompts[1].inputs["pixel_values"])


def test_records_are_a_function_of_their_number(tmp_path: Path) -> None:
    assert make_records(SMALL, tmp_path, 2).records == make_records(SMALL, tmp_path, 5).records[:2]


def test_words_are_different() -> None:
    words = list(islice(made_up_words(), 70_000))
    assert len(set(words)) == 70_000


def test_a_job_survives_its_file(tmp_path: Path) -> None:
    job = Job("trl", replace(SMALL, frozen=("visual",), adapter={"r": 4}), tmp_path / "shape", 1, 2, 1, 0)
    job.write(tmp_path / "a.job")
    assert Job.read(tmp_path / "a.job") == job


def test_every_step_has_its_own_pictures(tmp_path: Path) -> None:
    prepare(Job("", SMALL, tmp_path, warmup=1, steps=2, threads=1, seed=0))
    assert len(list((tmp_path / "pictures").iterdir())) == SMALL.answers * 3
    assert (tmp_path / "model" / "tokenizer.json").is_file()
