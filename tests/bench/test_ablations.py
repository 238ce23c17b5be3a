"""Each idea that is taken back costs what it saved, and changes no result."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from composed import CONF
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from small import SMALL
from torch import Tensor

from umed.bench import ablations
from umed.bench.job import CONFIG, Job
from umed.bench.ours import build, rewarding_config
from umed.bench.turns import prepare
from umed.methods.objective import total_weight
from umed.models.noise import Noise

pytestmark = pytest.mark.slow

Within = Callable[[], AbstractContextManager[None]]


@dataclass
class Step:
    """Gradients of one step, and the tokens and pictures that went through the parts of the model."""

    gradients: dict[str, Tensor]
    counts: Counter[str]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = Job("", SMALL, tmp_path_factory.mktemp("ablations"), warmup=1, steps=1, threads=1, seed=0)
    prepare(job)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=["task=bench", f"paths.run_dir={job.folder}"])
    OmegaConf.save(cfg, job.folder / CONFIG)
    return job


def take_step(job: Job, within: Within) -> Step:
    """A rollout and the gradients of its loss."""
    with within():
        method: Any
        method, data = build(job, rewarding_config(job))
        method.configure_model()
        core, counts = method.policy.core, Counter[str]()
        core.lm_head.register_forward_hook(lambda module, inputs, out: counts.update(head=out[..., 0].numel()))
        for part, layer in (("body", core.get_decoder().layers[0]), ("tower", core.model.visual.blocks[0])):
            layer.register_forward_hook(
                lambda module, inputs, out, part=part: counts.update({part: inputs[0][..., 0].numel()})
            )
        prompts = next(iter(data.train_dataloader()))
        rollout = method.sampler(method.engine, prompts, method.needs, Noise(0), keep=True)
        training = method.credited(rollout, method.rewards(rollout), rollout.logp_BT)
        weight = total_weight(training.mask_BT, method.objective.aggregation)
        live = method.engine.take_live()
        loss, _ = (
            method.objective.loss(live, training, weight) if live else method.objective(method.policy, training, weight)
        )
        loss.backward()
    found = {n: p.grad for n, p in method.policy.model.named_parameters() if p.grad is not None}
    return Step(found, counts)


@pytest.fixture(scope="module")
def plain(job: Job) -> Iterator[Step]:
    yield take_step(job, nullcontext)


@pytest.mark.parametrize(
    ("within", "part"),
    [
        (ablations.encode_again, "tower"),
        (ablations.score_again, "body"),
        (ablations.score_again, "head"),
        (ablations.whole_rows, "body"),
        (ablations.all_positions, "head"),
    ],
)
def test_an_idea_taken_back_costs_more_and_changes_nothing(job: Job, plain: Step, within: Within, part: str) -> None:
    step = take_step(job, within)
    assert step.counts[part] > plain.counts[part]
    assert step.gradients.keys() == plain.gradients.keys()
    for name, gradient in plain.gradients.items():
        torch.testing.assert_close(step.gradients[name], gradient, atol=1e-5, rtol=1e-4)


def test_the_prefill_is_read_again(job: Job) -> None:
    """Where the graph is not kept, the prefill of sampling serves scoring too."""

    @contextmanager
    def both() -> Iterator[None]:
        with ablations.score_again(), ablations.read_again():
            yield

    assert take_step(job, both).counts["body"] > take_step(job, ablations.score_again).counts["body"]


def test_nothing_is_left_behind(job: Job, plain: Step) -> None:
    for within in (ablations.encode_again, ablations.score_again, ablations.all_positions):
        with within():
            pass
    after = take_step(job, nullcontext).counts
    assert [after[part] for part in ("body", "head")] == [plain.counts[part] for part in ("body", "head")]


def test_a_step_learns_and_leaves_the_frozen_tower_alone(plain: Step) -> None:
    assert any(gradient.abs().max() > 1e-4 for gradient in plain.gradients.values())
    assert not [name for name in plain.gradients if "visual" in name]
