"""Shared fixtures: a tiny random model in a folder, prompts of different sizes, and policies built from both.

What takes seconds to import is imported where it is used: the process that hands out the tests needs none of it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="offline", TOKENIZERS_PARALLELISM="false")

import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from umed.boxes import Box
from umed.records import Record

if TYPE_CHECKING:
    import lightning as L
    import torch
    from answers import EvaluatedRun

    from umed.chat import Prompt
    from umed.models.backbone import Backbone
    from umed.models.family import FamilyProcessor
    from umed.models.policy import Policy
    from umed.rollout import TrainingBatch

# a busy machine is no failure; what costs microseconds an example asks for more of them
settings.register_profile("umed", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("umed")

QUERIES = ("What is wrong ?", "Is there something abnormal in this picture , and where is it ?")
CATEGORIES = ("stone", "cyst", "lung nodule")
SIZES = ((56, 56), (112, 56), (60, 100), (140, 112))


def family_of(name: str) -> Backbone:
    return import_module(f"umed.models.backbones.{name}").BACKBONE


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Register the pretend accelerator where a test asks for it, before autograd starts the threads of all devices."""
    if any(_uses_pretend(item) for item in session.items):
        import torch
        from pretend_gpu import register

        if not torch.cuda.is_available():  # torch knows one accelerator a process
            register()


def _uses_pretend(item: pytest.Item) -> bool:
    params = getattr(item, "callspec", None)
    return "pretend" in getattr(item, "fixturenames", ()) or (
        params is not None and any(isinstance(value, str) and value == "pretend" for value in params.params.values())
    )


@pytest.fixture
def pretend() -> Iterator[torch.device]:
    """The pretend accelerator of `pretend_gpu.py`."""
    import torch
    from pretend_gpu import active

    if torch.cuda.is_available():
        pytest.skip("there is a real GPU")
    with active() as device:
        yield device


@pytest.fixture(scope="session")
def family(request: pytest.FixtureRequest) -> str:
    """The model family; the tests in `models/` run for each."""
    return getattr(request, "param", "qwen3_vl")


@pytest.fixture(scope="session")
def backbone(family: str) -> str:
    return f"umed.models.backbones.{family}"


@pytest.fixture(scope="session")
def tiny_folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random tiny model; patches of 14 px in the Qwen families, so an image token is 28 px there."""
    folder = tmp_path_factory.mktemp(family)
    from umed.synthetic.tiny_models import write_tiny_of

    corpus = [*QUERIES, *CATEGORIES, "A stone is seen at . There is a cyst at . No lung nodule ."]
    write_tiny_of(family)(folder, corpus)
    return folder


@pytest.fixture(scope="session")
def processor(family: str, tiny_folder: Path) -> FamilyProcessor:
    return family_of(family).processor_class(str(tiny_folder))


def make_record(number: int, width: int, height: int, boxes: int = 1) -> Record:
    category = CATEGORIES[number % len(CATEGORIES)]
    corners = ((0.25, 0.25, 0.75, 0.5), (0.1, 0.6, 0.4, 0.9))[:boxes]
    return Record(
        id=f"synthetic/{number}",
        source="synthetic",
        image=f"{number}.png",
        width=width,
        height=height,
        boxes=tuple(Box(*c) for c in corners),
        category=category,
        modality="CT",
        group=str(number),
        query=QUERIES[number % len(QUERIES)],
        diagnosis=f"A {category} is seen at <region>.",
    )


@pytest.fixture(scope="session")
def make_prompts(processor: FamilyProcessor) -> Callable[..., list[Prompt]]:
    """`make_prompts(n, *sizes)`: n prompts with random pictures; queries and sizes (width, height) take turns."""

    def build(n: int, *sizes: tuple[int, int], boxes: int = 1, seed: int = 0) -> list[Prompt]:
        pixels = np.random.default_rng(seed)
        prompts = []
        for i in range(n):
            width, height = (sizes or SIZES)[i % len(sizes or SIZES)]
            image = Image.fromarray(pixels.integers(0, 256, (height, width, 3), dtype=np.uint8))
            record = make_record(i, width, height, boxes)
            others = tuple(c for c in CATEGORIES if c != record.category)
            prompts.append(processor.prompt(image, record, others))
        return prompts

    return build


@pytest.fixture(scope="session")
def make_control(processor: FamilyProcessor) -> Callable[..., Prompt]:
    """`make_control(number)`: the prompt of a normal picture as it is trained on."""

    def build(number: int, side: int = 56) -> Prompt:
        from dataclasses import replace

        from umed.data.controls import make_record as make_normal

        control = replace(make_record(number, side, side), id=f"normal/{number}", boxes=(), category="no finding")
        image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8))
        return processor.prompt(image, make_normal(control), CATEGORIES)

    return build


@pytest.fixture(scope="session")
def loaded_policies() -> dict[str, tuple[Policy, torch.Tensor]]:
    """Policies as they were loaded, with the state of torch's generator then; nobody changes them."""
    return {}


@pytest.fixture(scope="session")
def policy(
    tiny_folder: Path, processor: FamilyProcessor, backbone: str, loaded_policies: dict[str, Any]
) -> Callable[..., Policy]:
    """`policy(**arguments of load_policy)`: a new one each time; random weights, wide enough that mistakes show."""

    def build(path: Path | None = None, **kwargs: object) -> Policy:
        import torch

        from umed.models.load import load_policy

        key = repr((tiny_folder, sorted(kwargs.items())))
        if path or "init_from" in kwargs or " at 0x" in key:  # a folder that a test changes, or no key of its own
            return load_policy(str(path or tiny_folder), processor, backbone, **kwargs)
        if key not in loaded_policies:
            loaded = load_policy(str(tiny_folder), processor, backbone, **kwargs)
            loaded_policies[key] = loaded, torch.get_rng_state()
        loaded, state = loaded_policies[key]
        torch.set_rng_state(state)
        return deepcopy(loaded, {id(processor): processor})

    return build


@pytest.fixture(scope="session")
def make_rollout(make_prompts: Callable[..., list[Prompt]]) -> Callable[..., TrainingBatch]:
    """`make_rollout(queries, candidates, lengths, **fields)`: random numbers everywhere, consistent shapes."""

    def build(
        queries: int, candidates: int, lengths: list[int] | None = None, seed: int = 0, **fields: object
    ) -> TrainingBatch:
        import torch

        from umed.rollout import TrainingBatch

        rng = torch.Generator().manual_seed(seed)
        prompts = make_prompts(queries)
        count = queries * candidates
        lengths = lengths or torch.randint(1, 7, (count,), generator=rng).tolist()
        length, patches = max(lengths), 6
        mask = torch.arange(length) < torch.tensor(lengths)[:, None]
        random = [torch.randn(count, length, generator=rng) for _ in range(5)]
        batch = TrainingBatch(
            prompts=prompts,
            ids_BT=torch.randint(10, 200, (count, length), generator=rng),
            mask_BT=mask,
            truncated_B=torch.zeros(count, dtype=torch.bool),
            raw=[""] * count,
            texts=[""] * count,
            boxes=[None] * count,
            logp_BT=-random[0].abs(),
            sampled_logp_BT=random[0] + 0.25,
            values_BT=random[1],
            name_BN=torch.tensor([[1, 2]] * count),
            attention_BNP=torch.rand(count, 2, patches, generator=rng) / patches,
            region_BP=torch.rand(count, patches, generator=rng),
            box_span_BT=mask,
            name_span_BT=mask,
            ref_logp_BT=-random[2].abs(),
            reward_B=torch.zeros(count),
            maxima={},
            advantages_BT=random[3] * mask,
            returns_BT=random[4] * mask,
        )
        return batch.updated(**fields)

    return build


@pytest.fixture
def train() -> Callable[..., list[dict[str, float]]]:
    """`train(method, batches, outputs, **trainer)`: one epoch of these batches; what each logs and returns."""

    def fit(
        method: L.LightningModule,
        batches: list[list[Prompt]],
        outputs: list[dict[str, Any]] | None = None,
        **options: Any,
    ) -> list[dict[str, float]]:
        import lightning as L
        import torch
        from lightning.fabric.utilities.warnings import PossibleUserWarning

        logged: list[dict[str, float]] = []
        log, step = method.log_dict, method.training_step

        def keep(stats: dict[str, float | torch.Tensor], **kwargs: object) -> None:
            logged.append({name: float(value) for name, value in stats.items()})
            log(stats, **kwargs)

        def keep_output(*args: Any) -> Any:
            returned = step(*args)
            if outputs is not None:
                outputs.append(returned)
            return returned

        method.log_dict, method.training_step = keep, keep_output
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, **options}
        trainer = L.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **quiet)
        with warnings.catch_warnings():  # Lightning's advice about workers and a missing validation loader
            warnings.simplefilter("ignore", PossibleUserWarning)
            trainer.fit(method, torch.utils.data.DataLoader(batches, batch_size=None, collate_fn=list))
        return logged

    return fit


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> EvaluatedRun:
    """MAU and the six stand-ins, answered by the embedded model and scored; tests read it and leave it as it is.

    The processes of pytest-xdist share one: the first that needs it makes it.
    """
    from answers import EvaluatedRun, evaluate_embedded
    from filelock import FileLock

    if "PYTEST_XDIST_WORKER" not in os.environ:
        return evaluate_embedded(tmp_path_factory.mktemp("evaluated"))
    root = tmp_path_factory.getbasetemp().parent / "evaluated"
    shown = root / "shown.txt"
    with FileLock(root.with_suffix(".lock")):
        if not shown.exists():
            shutil.rmtree(root, ignore_errors=True)  # another process failed in the middle
            shown.write_text(evaluate_embedded(root).shown, encoding="utf-8")
    return EvaluatedRun(root / "run", root / "data", shown.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of the whole pipeline in a few steps, made by the command that users type."""
    root, run = Path(__file__).parents[1], tmp_path_factory.mktemp("finished") / "run"
    command = [sys.executable, "run.py", "trainer=smoke", f"hydra.run.dir={run}", f"paths.data={run.parent / 'data'}"]
    small = [
        "data.source.phantom.num_images=30",
        "method.val_samples=4",
        "method.batch_size=4",
        "task.sft_continued=true",
    ]
    done = subprocess.run([*command, *small], cwd=root, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return run
