"""One reading of `cfg.trainer`: the same device and precision for training, evaluation, predictions and figures."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import composed
from lightning.pytorch.accelerators import CUDAAccelerator

from umed.engine import device
from umed.engine.data_parallel import DataParallel
from umed.engine.device import build_to_answer, count_processes, create_trainer, find_placement
from umed.errors import InputError
from umed.training import build_trainer

STRATEGY = (
    "+trainer.strategy={_target_: lightning.pytorch.strategies.SingleDeviceStrategy, device: 'meta', "
    "accelerator: {_target_: lightning.pytorch.accelerators.CPUAccelerator}}"
)


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning and torch are told of two GPUs; nothing is computed on them."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(CUDAAccelerator, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr("lightning.fabric.accelerators.cuda.num_cuda_devices", lambda: 2)


def bare_trainer(*overrides: str) -> Any:
    """The trainer of a stage."""
    return build_trainer(composed("logger=none", "callbacks=[]", "paths.run_dir=run", *overrides), "sft", max_epochs=1)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], "cuda:0"),
        (["trainer=gpu"], "cuda:0"),
        (["trainer.accelerator=cpu"], "cpu"),
        (["trainer.devices=[1]"], "cuda:1"),
        (["trainer.devices='1,'", "trainer.accelerator=cuda"], "cuda:1"),
        (["trainer.accelerator=cpu", "trainer.precision=bf16-mixed"], "cpu"),
        ([STRATEGY], "meta"),
    ],
)
@pytest.mark.usefixtures("two_cards")
@pytest.mark.filterwarnings("ignore:GPU available but not used")
def test_everything_answers_where_training_trains(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], expected: str
) -> None:
    built: list[str] = []

    class Built:
        def eval(self) -> str:
            return "policy"

    monkeypatch.setattr(
        device, "build_policy", lambda cfg, start, dropout, where, critic: built.append(where) or Built()
    )
    policy, placement = build_to_answer(composed(*overrides), None)
    assert policy == "policy" and built == [expected] and placement.device == torch.device(expected)
    assert bare_trainer(*overrides).strategy.root_device == torch.device(expected)


@pytest.mark.parametrize(
    "overrides", [["trainer.devices=[2]"], ["trainer.devices=3"], ["trainer.devices=0"], ["trainer.accelerator=mps"]]
)
@pytest.mark.usefixtures("two_cards")
def test_a_card_that_is_not_there_is_told_in_one_line(overrides: list[str]) -> None:
    refused(overrides)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer=gpu"],
        ["trainer.devices=[1]"],
        ["trainer.accelerator=tpu"],
        ["trainer.accelerator=abacus"],
        ["trainer.precision=9"],
        ["trainer.precision=bf16-true"],
        ["trainer.precision=64-true"],
        ["trainer.devices=many", "trainer.accelerator=cpu"],
    ],
)
def test_what_this_machine_lacks_is_told_in_one_line(overrides: list[str]) -> None:
    refused(overrides)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], (1, 1)),
        (["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"], (2, 1)),
        (["trainer=smoke", "trainer.devices=2", "trainer.accelerator=cpu"], (2, 1)),
        (["trainer=ddp", "trainer.devices=2", "trainer.num_nodes=3", "trainer.accelerator=cpu"], (2, 3)),
        (["trainer=ddp", "trainer.accelerator=cpu"], (1, 1)),
    ],
)
@pytest.mark.parametrize("job", [{}, {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_NAME": "sweep"}])
def test_how_many_processes_train(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], expected: tuple[int, int], job: dict[str, str]
) -> None:
    """Whatever job of a cluster this process is part of."""
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    assert count_processes(composed(*overrides)) == expected
    trainer = bare_trainer(*overrides)
    assert trainer.world_size == expected[0] * expected[1] and trainer.is_global_zero
    assert isinstance(trainer.strategy, DataParallel) == (trainer.world_size > 1)
    assert find_placement(composed(*overrides)).device == trainer.strategy.root_device == torch.device("cpu")


@pytest.mark.usefixtures("two_cards")
def test_all_cards_are_used_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CUDAAccelerator, "auto_device_count", staticmethod(lambda: 2))
    assert count_processes(composed("trainer=ddp")) == (2, 1)
    assert bare_trainer("trainer=ddp").strategy.root_device == torch.device("cuda:0")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    trainer = bare_trainer("trainer=ddp")
    assert trainer.strategy.root_device == torch.device("cuda:1") and not trainer.is_global_zero


def test_another_strategy_is_refused() -> None:
    with pytest.raises(InputError, match=r"trainer.strategy=ddp_spawn with several processes: leave it out"):
        bare_trainer("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "+trainer.strategy=ddp_spawn")


def refused(overrides: list[str]) -> None:
    """Every task says the same."""
    with pytest.raises(InputError, match=r"^trainer[:.]") as answering:
        find_placement(composed(*overrides))
    with pytest.raises(InputError) as training:
        bare_trainer(*overrides)
    assert str(answering.value) == str(training.value) and "trainer.precision" in str(training.value)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_precision_is_that_of_a_training_step(precision: str) -> None:
    placement = find_placement(composed("trainer.accelerator=cpu", f"trainer.precision={precision}"))
    plugin = bare_trainer("trainer.accelerator=cpu", f"trainer.precision={precision}").precision_plugin
    product = []
    for context in (placement.autocast(), plugin.train_step_context()):
        with context:
            product.append(torch.eye(2) @ torch.eye(2))
    assert product[0].dtype == product[1].dtype == (torch.float32 if precision == "32-true" else torch.bfloat16)
    assert (torch.eye(2) @ torch.eye(2)).dtype == torch.float32


def test_autocast_is_for_the_device_of_the_strategy() -> None:
    """Lightning alone would take it for CUDA."""
    plugin = bare_trainer(STRATEGY, "trainer.precision=bf16-mixed").precision_plugin
    assert plugin.device == "meta" and plugin.precision == "bf16-mixed"


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without an accelerator")
@pytest.mark.parametrize("overrides", [[], ["trainer.accelerator=cpu"], ["trainer=smoke"]])
def test_the_short_way_to_the_cpu_leads_where_lightning_leads(overrides: list[str]) -> None:
    cfg = composed(*overrides)
    assert device._is_plain_cpu(cfg.trainer)
    trainer = create_trainer(device.config.create(cfg.trainer), logger=False, enable_checkpointing=False)
    assert trainer.strategy.root_device == find_placement(cfg).device
    assert type(trainer.precision_plugin).__name__ == "Precision"  # as the weights are


@pytest.mark.skipif(torch.accelerator.is_available(), reason="needs a machine without an accelerator")
def test_the_default_on_a_cpu_needs_no_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it takes seconds, which `task=predict` does without."""
    monkeypatch.setattr(device, "create_trainer", lambda *_, **__: pytest.fail("a trainer was made"))
    assert find_placement(composed()).device == torch.device("cpu")
    top = [n for n in ast.parse(Path(device.__file__).read_text()).body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not [n for n in top if "lightning" in ast.unparse(n)]


def test_answers_are_as_deterministic_as_training(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[bool] = []
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda on, **_: chosen.append(on))
    find_placement(composed("+trainer.deterministic=true"))
    assert chosen == [True]
