"""Batches survive the way from a worker whole, in one file; workers where they pay."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch

from umed.chat import Prompt
from umed.data import loading
from umed.data.loading import Batch, check_workers, choose_workers
from umed.errors import InputError
from umed.evaluation.benchmarks.mau import question_of
from umed.evaluation.datamodule import EvaluationItem

ROOT = Path(__file__).parents[2]
LOADERS = """
import resource, sys
from pathlib import Path
import torch
from PIL import Image
from conftest import make_record
from umed.data.mau import Prompts
from umed.data.loading import make_loader
from umed.models.backbones.{family} import BACKBONE

folder, tiny, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
records = [make_record(i, 56, 56) for i in range(400)]
for k in range(len(records)):
    Image.new("RGB", (56, 56), (k % 256, k // 256, 7)).save(folder / records[k].image)
prompts = Prompts(records, {{"synthetic": folder}}, BACKBONE.processor_class(tiny), records)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
read = [list(make_loader(prompts, num_workers=n, batch_size=64, **more))
        for n, more in ((0, {{}}), (workers, {{"prefetch_factor": 4}}))]
for one, two in zip(*read, strict=True):
    for a, b in zip(one, two, strict=True):
        assert (a.record, a.view, a.gold, a.others) == (b.record, b.view, b.gold, b.others)
        assert a.inputs.keys() == b.inputs.keys() and torch.equal(a.answer, b.answer)
        assert all(a.inputs[n].dtype == b.inputs[n].dtype and torch.equal(a.inputs[n], b.inputs[n]) for n in a.inputs)
print(sum(map(len, read[1])))
"""


def sent(batch: Batch) -> Batch:
    """As a worker sends it and the main process receives it."""
    return pickle.loads(ForkingPickler.dumps(batch))


def test_a_batch_arrives_as_it_was_sent_in_one_file(make_prompts: Callable[..., list[Prompt]]) -> None:
    prompts = make_prompts(6)
    odd = torch.tensor([1.5, -2], dtype=torch.bfloat16)
    prompts[1].inputs |= {"odd": odd, "none": torch.zeros(0, 3), "flag": torch.tensor(True), "turned": odd[:, None].T}
    prompts[2].answer = torch.zeros(0, dtype=torch.long)
    before = len(os.listdir("/proc/self/fd"))
    arrived = sent(Batch(prompts))
    assert len(os.listdir("/proc/self/fd")) - before <= 2 < len(prompts)
    assert type(arrived) is Batch and len(arrived) == 6
    for one, two in zip(prompts, arrived, strict=True):
        assert (one.record, one.view, one.gold, one.others) == (two.record, two.view, two.gold, two.others)
        assert list(one.inputs) == list(two.inputs)
        pairs = [(one.answer, two.answer), *((one.inputs[name], two.inputs[name]) for name in one.inputs)]
        assert all(a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) for a, b in pairs)
    assert all(p.inputs for p in prompts)  # what was sent is as it was


def test_questions_travel_with_their_prompts(make_prompts: Callable[..., list[Prompt]]) -> None:
    items = [EvaluationItem(question_of(p.record, ["stone"]), p, {"a": "yes"}) for p in make_prompts(2)]
    for one, two in zip(items, sent(Batch(items)), strict=True):
        assert (one.question, one.candidates, one.prompt.record) == (two.question, two.candidates, two.prompt.record)
        assert torch.equal(one.prompt.inputs["pixel_values"], two.prompt.inputs["pixel_values"])


def test_no_prompt_is_a_batch_too() -> None:
    assert sent(Batch()) == []


@pytest.mark.parametrize(("cores", "pixels", "workers"), [(2, 10**6, 0), (4, 10**6, 3), (64, 10**6, 4), (64, 10**4, 0)])
def test_workers_are_chosen_by_cores_and_pictures(
    monkeypatch: pytest.MonkeyPatch, cores: int, pixels: int, workers: int
) -> None:
    monkeypatch.setattr(loading.os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert choose_workers(pixels) == workers


@pytest.mark.parametrize("given", [-1, 1.5, True, "2"])
def test_what_is_no_number_of_workers_is_refused(given: object) -> None:
    with pytest.raises(InputError, match=r"data\.num_workers=.*a whole number"):
        check_workers(given)  # type: ignore[arg-type]
    check_workers(None)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_few_open_files_are_enough(tmp_path: Path, tiny_folder: Path, family: str, workers: int) -> None:
    """Where torch alone fails with "Too many open files"; and the batches are the same as without workers."""
    paths = os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))
    command = [sys.executable, "-c", LOADERS.format(family=family), str(tmp_path), str(tiny_folder), str(workers)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["400"] and "error" not in done.stderr.lower()
