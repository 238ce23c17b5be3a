"""A stage: what can be listed in yaml, what is refused before anything long begins, and what a stage leaves behind."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from composed import composed
from conftest import make_record
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf
from PIL import Image

from umed.errors import InputError
from umed.records import RecordSet
from umed.training import build_method, build_trainer, check_stage, train_stage

MINE = """
from umed.models.critics.base import Critic


class First(Critic):
    def states(self, prompts, ids_BT, mask_BT, state_BTH):
        return state_BTH[:, :1].detach().expand_as(state_BTH)


class Half(Critic):
    pass
"""


@pytest.fixture
def my_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_critics.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_critics", raising=False)


def test_stock_callbacks_and_loggers_stand_in_yaml_beside_ours(tmp_path: Path) -> None:
    cfg = composed(
        "callbacks=[default,early_stopping,best]", "logger=csv", f"paths.run_dir={tmp_path}", "debug=profiler",
        "+callbacks.rate._target_=lightning.pytorch.callbacks.LearningRateMonitor",
        "+logger.second={_target_: lightning.pytorch.loggers.CSVLogger, save_dir: '${paths.run_dir}/more'}",
    )  # fmt: skip
    for stage in ("sft", "aar"):
        trainer = build_trainer(cfg, stage, max_epochs=1)
        kinds = [type(c) for c in trainer.callbacks]
        assert {EarlyStopping, LearningRateMonitor} <= set(kinds) and kinds.count(ModelCheckpoint) == 2
        folders = {Path(c.dirpath) for c in trainer.callbacks if isinstance(c, ModelCheckpoint)}
        assert folders == {tmp_path / "checkpoints" / stage, tmp_path / "checkpoints" / stage / "best"}
        assert len(trainer.loggers) == 2 and Path(trainer.loggers[0].log_dir) == tmp_path / "logs" / stage
        assert isinstance(trainer.loggers[1], CSVLogger)
        assert Path(trainer.profiler.dirpath) == tmp_path / "logs" / stage
    assert cfg.stage is None
    assert build_trainer(composed("logger=none", f"paths.run_dir={tmp_path}"), "sft", max_epochs=1).loggers == []
    bare = build_trainer(composed("logger=[]", "callbacks=[]", f"paths.run_dir={tmp_path}"), "sft", max_epochs=1)
    assert bare.loggers == [] and not any(type(c).__module__.startswith("umed.") for c in bare.callbacks)


@pytest.mark.usefixtures("my_file")
@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["logger=tensorboard"], "logger.tensorboard=.*tensorboard"),
        (["logger=csv", "callbacks=[default,early_stopping]", "callbacks.early_stopping.mode=up"], "callbacks.*got up"),
        (["logger=csv", "+callbacks.mine._target_=no_such_file.Mine"], "callbacks.mine=no_such_file.Mine"),
        (["logger=csv", "+logger.mine._target_=my_critics.Nowhere"], "logger.mine=my_critics.Nowhere"),
        (["logger=csv", "+callbacks.mine._target_=collections.Counter"], "callbacks.mine: Counter is no .*Callback"),
        (["logger=csv", "+callbacks.mine.patience=3"], "callbacks.mine: DictConfig is no .*Callback"),
        (["logger=csv", "+logger.mine._target_=collections.Counter"], "logger.mine: Counter is no .*Logger"),
        (["logger=csv", "trainer.accelerator=tpu"], "trainer: "),
        (["+objective.foo=1"], "objective.ClippedObjective: .*'foo'"),
        (["+credit.foo=1"], "credit.*'foo'"),
        (["credit=gae", "+critic.foo=1"], "critic.*'foo'"),
        (["+reward.parts.localization.foo=1"], "reward.parts.localization=.*'foo'"),
        (["logger=csv", "trainer.precision=9"], "trainer: Precision 9 is invalid"),
        (["logger=csv", "trainer.precision=bf16-true"], "trainer.precision=.*bf16-mixed"),
        (["logger=csv", "trainer.precision=16-mixed"], "trainer.precision=16-mixed: .*bf16-mixed"),
        (["logger=csv", "model.dtype=bfloat16", "model.adapter=null"], "model.dtype=bfloat16 where the model"),
        (["model.dtype=bfloat16", "+model.adapter.modules_to_save=[lm_head]"], "model.dtype=bfloat16 .*modules_to_s"),
        (["logger=csv", "model.dtype=float16"], "model.dtype=float16: .*bfloat16"),
        (["logger=csv", "+trainer.no_such=1"], "Trainer: .*no_such"),
        (["logger=csv", "data.checkpoint_every=0"], "data.checkpoint_every=0: at least 1"),
        (
            ["credit=gae", "~critic", "+critic={_target_: my_critics.Half, _partial_: true}"],
            r"\(my_critics.Half\) lacks states",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU")  # Lightning would train in bf16
def test_what_cannot_be_is_told_in_one_line(tmp_path: Path, overrides: list[str], told: str) -> None:
    cfg = composed(f"paths.run_dir={tmp_path / 'run'}", *overrides)
    with pytest.raises(InputError, match=told) as error:
        check_stage(cfg, cfg.method)
    assert "\n" not in str(error.value)


def test_an_adapter_or_a_whole_model_to_start_from_decides_what_types_can_be(tmp_path: Path) -> None:
    """Whatever `model.adapter` says: it describes a fresh one."""
    for name in ("whole/umed.json", "whole/config.json", "lora/adapter_config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    start = ["task=train", f"paths.run_dir={tmp_path / 'run'}", "logger=csv", "model.dtype=bfloat16"]
    cfg = composed(*start, f"init_from={tmp_path / 'whole'}")
    with pytest.raises(InputError, match="model.dtype=bfloat16 where the model itself is trained"):
        check_stage(cfg, cfg.method)
    cfg = composed(*start, f"init_from={tmp_path / 'lora'}", "model.adapter=null")
    assert check_stage(cfg, cfg.method) == "aar"


@pytest.mark.usefixtures("my_file")
def test_a_strangers_critic_is_a_file_and_a_key() -> None:
    cfg = composed("credit=gae", "~critic", "+critic={_target_: my_critics.First, _partial_: true}")
    method = build_method(cfg, cfg.method)
    method.configure_model()
    assert type(method.policy.critic).__name__ == "First" and method.policy.critic.body() == []


@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice, silenced by tasks.quiet
def test_a_stage_leaves_checkpoints_history_and_an_adapter_and_goes_on_from_them(
    tmp_path: Path, tiny_folder: Path
) -> None:
    pixels = np.random.default_rng(0)
    records = []
    for number in range(6):
        record = make_record(number, 56, 56)
        noise = pixels.integers(0, 256, (56, 56, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / record.image)
        records.append(type(record).from_json({**record.to_json(), "split": "val" if number > 3 else "train"}))
    run = tmp_path / "run"
    """A metric to stop by that nothing logs is told in one line."""
    cfg = composed(
        "task=train", "method=sft", f"model.path={tiny_folder}", f"paths.run_dir={run}", "logger=csv",
        "callbacks=[default,best]", "method.batch_size=2", "method.steps=4", "data.checkpoint_every=2",
        "method.max_new_tokens=4", "limits.batches=4", "~model.processor.step",
    )  # fmt: skip
    data = RecordSet(records, {"synthetic": tmp_path})
    wrong = cfg.copy()
    wrong.paths.run_dir = str(tmp_path / "wrong")
    OmegaConf.update(
        wrong,
        "callbacks.stop",
        {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/nope"},
        force_add=True,
    )
    with pytest.raises(InputError, match="callbacks: .*`val/nope` which is not available"):
        train_stage(wrong, wrong.method, data, "sft", None, tmp_path / "wrong", tmp_path / "wrong" / "adapter")
    train_stage(cfg, cfg.method, data, "sft", None, run, run / "adapter")
    names = {str(p.relative_to(run / "checkpoints")) for p in (run / "checkpoints").rglob("*.ckpt")}
    assert len(names) == 2 and {Path(n).parent.name for n in names} == {"sft", "best"}
    rows = list(csv.DictReader((run / "logs" / "sft" / "metrics.csv").read_text().splitlines()))
    assert [float(r["sft/iteration"]) for r in rows if r["sft/loss"]] == [0, 1, 2, 3]
    assert len([r for r in rows if r["val/mau/iou/avg"]]) == 2
    note = json.loads((run / "adapter" / "umed.json").read_text())
    assert (note["stage"], note["method"], note["critic"]) == ("sft", "AbnormalAwareTuning", "SharedCritic")
    train_stage(cfg, cfg.method, data, "sft", None, run, run / "again")  # nothing is left to train
    assert (run / "again" / "adapter_model.safetensors").read_bytes() == (
        run / "adapter" / "adapter_model.safetensors"
    ).read_bytes()
