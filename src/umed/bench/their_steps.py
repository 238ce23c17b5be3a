"""Their trainers, and transformers' `generate`, with each step timed."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from transformers import TrainerCallback

from umed.bench import theirs
from umed.bench.clock import StepClock
from umed.bench.job import Job
from umed.bench.ours import SAMPLES, build, rewarding_config, tuning_config
from umed.chat import Prompt
from umed.data.mau import MauDataModule
from umed.pictures import picture_of
from umed.records import RecordSet


def reward(job: Job, clock: StepClock, answer_head: bool = False) -> None:
    """GRPO."""
    _, data = build(job, rewarding_config(job))
    records = RecordSet(data.records, data.roots)
    trainer = theirs.grpo_trainer(job, data.processor, records, order_of(data), theirs.load_model(job))
    trainer._generate = clock.timed("sample", trainer._generate)
    whole = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = clock.timed("score", whole, without="sample")
    with theirs.answer_head() if answer_head else nullcontext():
        _train(trainer, clock)


def tune(job: Job, clock: StepClock) -> None:
    """Supervised fine-tuning."""
    _, data = build(job, tuning_config(job))
    records = RecordSet(data.records, data.roots)
    _train(theirs.sft_trainer(job, data.processor, records, order_of(data), theirs.load_model(job)), clock)


def generate(job: Job, clock: StepClock) -> None:
    """Greedy and sampled answers to one batch of questions a step, by transformers' `generate`."""
    from umed.models.backbones.qwen2_5_vl import Qwen25VLProcessor

    shape = job.shape
    model: Any = theirs.load_model(job).eval().to("cuda" if shape.gpu else "cpu")
    processor = Qwen25VLProcessor(str(job.model))
    data = job.records(shape.answers * job.total)
    length = {"min_new_tokens": shape.answer_tokens, "max_new_tokens": shape.answer_tokens}
    sampled = {"do_sample": True, "num_return_sequences": SAMPLES, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    for number in clock.steps(job.total):
        records = data.records[number * shape.answers : (number + 1) * shape.answers]
        prompts = [processor.prompt(picture_of(r, data.roots), r) for r in records]
        batch = {name: tensor.to(model.device) for name, tensor in processor.collate(prompts).items()}
        suppressed = {"suppress_tokens": list(processor.suppressed_ids)}
        with torch.no_grad():
            for options in ({"do_sample": False}, sampled):
                answers = model.generate(**batch, **length, **suppressed, **options)
                _read(processor, prompts, answers[:, batch["input_ids"].shape[1] :])


def _read(processor: Any, prompts: Sequence[Prompt], answers: torch.Tensor) -> None:
    """Texts and boxes of the answers, as an evaluation needs them."""
    for number, ids in enumerate(answers.tolist()):
        text = processor.decode(ids)
        processor.read_boxes(text, prompts[number * len(prompts) // len(answers)].view)


def order_of(data: MauDataModule) -> list[int]:
    """Positions of the records in the order in which our training takes them."""
    return [position for batch in data.train_dataloader().batch_sampler for position in batch]  # type: ignore[union-attr]


def _train(trainer: Any, clock: StepClock) -> None:
    class Watch(TrainerCallback):
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            clock.start()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.end_step()

    trainer.add_callback(Watch())
    trainer.train()
