"""Validation numbers, and stock callbacks that monitor them."""

import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from umed.callbacks.checkpoints import newest_checkpoint
from umed.callbacks.validation import Validation
from umed.chat import Prompt
from umed.evaluation.benchmarks.mau import question_of
from umed.evaluation.prediction import Prediction
from umed.methods.sft import AbnormalAwareTuning
from umed.models.policy import Policy


@pytest.fixture(scope="module")
def stopped(
    policy: Callable[..., Policy], make_prompts: Callable[..., list[Prompt]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[L.Trainer, Path]:
    """A model that never improves, of at most 9 epochs."""
    pi = policy(adapter={"r": 2})
    method = AbnormalAwareTuning(lambda **_: pi, seed=0, lr=0.0, batch_size=2, steps=9, max_new_tokens=4)
    folder = tmp_path_factory.mktemp("run")
    metric = {"monitor": "val/mau/iou/avg", "mode": "max"}
    trainer = L.Trainer(
        max_epochs=9,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[
            Validation({"stone": ["calculus"]}),
            EarlyStopping(**metric, patience=2),
            ModelCheckpoint(folder, filename="{epoch:06d}", save_on_train_epoch_end=True),
            ModelCheckpoint(folder / "best", filename="best", **metric),
        ],
    )
    prompts = make_prompts(2)
    loader = torch.utils.data.DataLoader([prompts], batch_size=None, collate_fn=list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        trainer.fit(method, loader, loader)
    return trainer, folder


def test_early_stopping_reads_the_number(stopped: tuple[L.Trainer, Path]) -> None:
    trainer, _ = stopped
    assert trainer.current_epoch == 3  # the first one, and two without anything better
    # the answers of a random model claim no region
    assert trainer.callback_metrics["val/mau/iou/avg"] == 0 and trainer.callback_metrics["val/mau/unparsed/avg"] == 0


def test_the_best_checkpoint_is_not_the_one_to_resume_from(stopped: tuple[L.Trainer, Path]) -> None:
    _, folder = stopped
    assert (folder / "best" / "best.ckpt").is_file()
    newest = newest_checkpoint(folder)
    assert newest is not None and newest.parent == folder and "2" in newest.stem
    assert newest_checkpoint(folder / "none") is None


def test_synonyms_count(stopped: tuple[L.Trainer, Path]) -> None:
    trainer, _ = stopped
    validation = trainer.callbacks[0]
    first = validation.predictions[0]
    question = first.question.model_copy(update={"category": "stone", "categories": ("stone",)})
    logged: dict[str, float] = {}
    validation.predictions = [first.model_copy(update={"question": question, "output": "A calculus."})]
    validation.on_validation_epoch_end(trainer, type("Module", (), {"log_dict": lambda _, d, **__: logged.update(d)})())
    assert logged["val/mau/accuracy/avg"] == 1.0


def test_normal_pictures_have_numbers_of_their_own(stopped: tuple[L.Trainer, Path]) -> None:
    trainer, _ = stopped
    validation = trainer.callbacks[0]
    abnormal = validation.predictions[0]
    normal = abnormal.question.model_copy(update={"gold_boxes": (), "category": "normal", "categories": ("cyst",)})
    said = {"a cyst": ((0, 0, 9, 9),), "The image is normal.": None, "No cyst": None, "bright": ((0, 0, 9, 9),)}
    controls = [Prediction(question=normal, output=text, boxes=boxes) for text, boxes in said.items()]

    def log(predictions: list[Prediction]) -> dict[str, float]:
        logged: dict[str, float] = {}
        validation.predictions = predictions
        module = type("Module", (), {"log_dict": lambda _, d, **__: logged.update(d)})()
        validation.on_validation_epoch_end(trainer, module)
        return logged

    alone, both = log([abnormal]), log([abnormal, *controls])
    assert {name: both[name] for name in alone} == alone and not any("false" in name for name in alone)
    assert both["val/mau/false_boxes/avg"] == 0.5 and both["val/mau/false_positives/avg"] == 0.25


def test_to_be_normal_is_no_category_that_an_answer_may_confuse(make_control: Callable[..., Prompt]) -> None:
    prompt = make_control(0)
    assert question_of(prompt.record, prompt.others).categories == ("cyst", "lung nodule", "stone")
