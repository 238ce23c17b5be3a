"""Their side: TRL's trainers on the same folder, pictures, order, rewards and optimizer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from torch import nn

from umed.bench.job import Job
from umed.bench.ours import LR
from umed.bench.reward import score_text
from umed.chat import Processor
from umed.errors import InputError
from umed.models.load import freeze
from umed.records import Record, RecordSet


def require_trl() -> None:
    """Raises InputError: TRL is not installed."""
    if find_spec("trl") is None:
        raise InputError("task=bench compares with TRL, which is not installed: pip install 'umed[bench]'")


def their_processor(ours: Any, name: str = "Qwen2_5_VLProcessor") -> Any:
    """The family's processor of transformers without the video half, which needs torchvision.

    Args:
        ours: our processor of the family, whose tokenizer and image processor it uses.
    """

    class Pictures(getattr(transformers, name)):  # type: ignore[misc]
        def __init__(self, image_processor: Any, tokenizer: Any, chat_template: Any = None) -> None:
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
            self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
            transformers.ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

        @classmethod
        def get_attributes(cls) -> list[str]:
            return ["image_processor", "tokenizer"]

    return Pictures(ours.image_processor, ours.tokenizer, ours.tokenizer.chat_template)


def load_model(job: Job, dtype: torch.dtype | None = None) -> nn.Module:
    """The checkpoint as transformers loads it, with the frozen modules and the adapter of the shape."""
    model: Any = transformers.AutoModelForImageTextToText.from_pretrained(
        job.model, dtype=dtype or getattr(torch, job.shape.dtype)
    )
    if job.shape.adapter is None:
        freeze(model, job.shape.frozen)
        return model
    from peft import LoraConfig, get_peft_model

    from umed.models.backbones.qwen2_5_vl import BACKBONE

    return get_peft_model(model, LoraConfig(target_modules=BACKBONE.lora_targets, **job.shape.adapter))


def trainer_options(job: Job, folder: Path, batch: int) -> dict[str, Any]:
    """What GRPOConfig and SFTConfig have in common; what is not named stays as TRL has it."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
        "max_steps": job.total,
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": job.shape.gpu,
        "use_cpu": not job.shape.gpu,
        "dataloader_pin_memory": job.shape.gpu,
        "report_to": [],
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "seed": job.seed,
    }


def grpo_trainer(job: Job, ours: Any, data: RecordSet, order: Sequence[int], model: Any, **options: Any) -> Any:
    """Their GRPO on these records in this order."""
    from trl import GRPOConfig, GRPOTrainer

    shape = job.shape
    settings = trainer_options(job, job.folder / "trl", shape.answers) | {
        "num_generations": shape.candidates,
        "max_completion_length": shape.answer_tokens,
        "generation_kwargs": {"min_new_tokens": shape.answer_tokens},
        "temperature": 1.0,
        "beta": 0.0,
        "epsilon": 0.2,
        "loss_type": "dapo",
        "shuffle_dataset": False,
    }
    return GRPOTrainer(
        model=model,
        reward_funcs=reward_of_texts,
        args=GRPOConfig(**settings | options),
        train_dataset=as_dataset([{"prompt": ask(r)} for r in data.records], data, order),
        processing_class=their_processor(ours),
    )


def sft_trainer(job: Job, ours: Any, data: RecordSet, order: Sequence[int], model: Any) -> Any:
    """Their fine-tuning on these records in this order, with our prompts and answers as plain text."""
    from trl import SFTConfig, SFTTrainer

    settings = trainer_options(job, job.folder / "trl", job.shape.answers) | {
        "max_length": None,
        "train_sampling_strategy": "sequential",
    }
    return SFTTrainer(
        model=model,
        args=SFTConfig(**settings),
        train_dataset=as_dataset([say(r, ours) for r in data.records], data, order),
        processing_class=their_processor(ours),
    )


def ask(record: Record) -> list[dict[str, str]]:
    """A conversation; TRL puts the picture before its text."""
    return [{"role": "user", "content": record.query}]


def say(record: Record, ours: Any) -> dict[str, str]:
    """Prompt and answer as text."""
    return {"prompt": ours.text(record.query), "completion": record.diagnosis + end_of_answer(ours)}


def end_of_answer(ours: Processor) -> str:
    tokenizer: Any = ours.tokenizer  # type: ignore[attr-defined]
    return tokenizer.convert_ids_to_tokens(ours.eos_ids[0])


def as_dataset(rows: Sequence[dict[str, Any]], data: RecordSet, order: Sequence[int]) -> Any:
    """Rows and pictures in an order; a picture is opened when its row is read."""
    from datasets import Dataset, Image

    [root] = data.roots.values()
    lines = [rows[k] | {"image": str(root / data.records[k].image)} for k in order]
    return Dataset.from_list(lines).cast_column("image", Image())


def reward_of_texts(completions: Sequence[Sequence[dict[str, str]]], **_: Any) -> list[float]:
    """`score_text` of each reply."""
    return [score_text(completion[0]["content"]) for completion in completions]


@contextmanager
def answer_head() -> Iterator[None]:
    """TRL's head on answer positions only, which without Triton it applies to all positions."""
    from trl.trainer import utils

    with patch.object(utils, "_use_triton", lambda device: True):
        yield
