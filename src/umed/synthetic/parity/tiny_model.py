"""A tiny random model of a family: as our policies, and as an untouched transformers model."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText

from umed.boxes import Box
from umed.chat import Prompt
from umed.models.backbone import Backbone
from umed.models.batch import append_answers, token_inputs
from umed.models.load import load_policy
from umed.models.noise import Noise
from umed.models.policy import Policy
from umed.records import Record
from umed.rollout import Answers
from umed.synthetic.tiny_models import backbone_of, write_tiny_of

SIZES = ((140, 112), (60, 100))  # width, height: two shapes, so that prompts of one batch differ in length
CORPUS = ("What is wrong ?", "Where is the lung nodule in this picture ?", "A stone is seen at . No cyst .")
CATEGORIES = ("stone", "cyst", "lung nodule")
NEW_TOKENS, CANDIDATES = 8, 2
TEMPERATURE = 0.7
ADAPTER = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1}


class TinyModel:
    """A tiny random model in a folder, which is written first if it is empty, with prompts of two pictures."""

    def __init__(self, family: str, folder: Path) -> None:
        self.family, self.folder, self.backbone = family, folder, backbone_of(family)
        if not (folder / "config.json").is_file():
            write_tiny_of(family)(folder, CORPUS)
        self.processor = self.backbone.processor_class(str(folder))
        self.prompts = [self.prompt(i, *size) for i, size in enumerate(SIZES)]

    def prompt(self, number: int, width: int, height: int, pixels: np.ndarray | None = None) -> Prompt:
        if pixels is None:
            pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        category = CATEGORIES[number % len(CATEGORIES)]
        boxes, texts = (Box(0.25, 0.25, 0.75, 0.5),), (CORPUS[number % 2], f"A {category} is seen at <region>.")
        where = f"synthetic/{number}", "synthetic", f"{number}.png", width, height
        record = Record(*where, boxes, category, "CT", str(number), query=texts[0], diagnosis=texts[1])
        return self.processor.prompt(Image.fromarray(pixels), record)

    def load(self, **options: Any) -> Policy:
        """A new policy; `options` are those of `load_policy`."""
        return load_policy(str(self.folder), self.processor, f"umed.models.backbones.{self.family}", **options)

    @cached_property
    def policy(self) -> Policy:
        """Its tower is frozen, so that features are kept."""
        return self.load(temperature=TEMPERATURE, frozen=self.backbone.tower).eval()

    @cached_property
    def adapted(self) -> Policy:
        """With a random adapter that has much dropout, under gradient checkpointing."""
        adapter = {**ADAPTER, "init_lora_weights": False, "lora_dropout": 0.5}
        return self.load(adapter=adapter, gradient_checkpointing=True).eval()

    @cached_property
    def answers(self) -> Answers:
        return sample_answers(self.policy, self.prompts)

    @cached_property
    def adapted_answers(self) -> Answers:
        return sample_answers(self.adapted, self.prompts)

    @cached_property
    def plain(self) -> Any:
        """The same weights in an untouched transformers model with eager attention."""
        return AutoModelForImageTextToText.from_pretrained(self.folder, attn_implementation="eager").eval()

    @torch.no_grad()
    def plain_outputs(self, model: Any, answers: Answers, **options: bool) -> list[Any]:
        """Outputs of a plain model for each answer."""
        each = zip(answers.ids_BT, answers.mask_BT, strict=True)
        prompts = [prompt for prompt in self.prompts for _ in range(CANDIDATES)]
        inputs = [
            plain_inputs(self.backbone, p, ids[mask].tolist()) for p, (ids, mask) in zip(prompts, each, strict=True)
        ]
        return [model(**one, **options) for one in inputs]

    @cached_property
    def outputs(self) -> list[Any]:
        """What the untouched model says to `answers`, with its attention."""
        return self.plain_outputs(self.plain, self.answers, output_attentions=True)


def sample_answers(policy: Policy, prompts: Sequence[Prompt]) -> Answers:
    return policy.sample(prompts, CANDIDATES, NEW_TOKENS, noise=Noise(0))


def plain_inputs(backbone: Backbone, prompt: Prompt, answer: Sequence[int]) -> dict[str, Tensor]:
    """Inputs of plain transformers for one prompt and answer: no padding, one row."""
    ids = torch.tensor([list(answer)], dtype=torch.long)
    rows = {k: v[None] for k, v in token_inputs(prompt.inputs).items()}
    return {**prompt.inputs, **append_answers(rows, ids, torch.ones_like(ids), backbone.answer_type)}


@torch.no_grad()
def plain_logp(model: Any, policy: Policy, prompt: Prompt, answer: Sequence[int]) -> Tensor:
    """log pi of each token of an answer by one forward pass of a plain model over its prompt and itself, (T,)."""
    return logp_of(model(**plain_inputs(policy.backbone, prompt, answer)).logits, policy, answer)


def logp_of(logits: Tensor, policy: Policy, answer: Sequence[int]) -> Tensor:
    """log pi of each token of an answer from a plain model's logits of the whole row, (T,)."""
    logits = logits[0, -len(answer) - 1 : -1].clone()
    logits[:, [i for i in policy.processor.suppressed_ids if i < logits.shape[-1]]] = -torch.inf
    return (logits / policy.temperature).log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
