"""MedVInT-TD's own way to answer a choice: one forward pass, the most probable token everywhere, the last character.

Source: xiaoman-zhang/PMC-VQA (MIT), src/MedVInT_TD/test.py. The answer is one character, so `choice_nearest` of these
answers is the rule of that script.
"""

from collections.abc import Sequence

import torch
from tqdm import tqdm

from umed.chat import Prompt
from umed.engine.engine import Engine
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.evaluation.prediction import Prediction
from umed.models.batch import picture_inputs, token_inputs
from umed.models.contexts import generating

ROW = "td_compat"
AT_ONCE = 8  # prompts of a pass: their logits take 4 x tokens x vocabulary bytes each


def ask_last_characters(engine: Engine, data: BenchmarkDataModule, name: str, title: str) -> list[Prediction]:
    """The answers to the `choice` questions of a benchmark; none where it has none."""
    questions = [q for q in data.questions_of[name] if q.answer_type == "choice"]
    predictions: list[Prediction] = []
    if not questions:
        return predictions
    for batch in tqdm(data.loader(name, "own", questions), desc=title, leave=False, disable=None):
        characters: list[str] = []
        for start in range(0, len(batch), AT_ONCE):
            characters += last_characters(engine, [item.prompt for item in batch[start : start + AT_ONCE]])
        predictions += [
            Prediction.model_construct(question=item.question, output=c, boxes=None, scores=None, attention=None)
            for item, c in zip(batch, characters, strict=True)
        ]
    return predictions


@torch.no_grad()
def last_characters(engine: Engine, prompts: Sequence[Prompt]) -> list[str]:
    """The last character of what the most probable tokens at all positions of each prompt spell; empty for none."""
    policy = engine.policy
    batch = policy.processor.collate(prompts)
    position = policy.backbone.positions(policy.core.model, batch)
    moved = {k: v.to(policy.device) for k, v in batch.items()}
    with generating(policy):
        out = policy.core.model(
            **{k: v for k, v in token_inputs(moved).items() if k in ("input_ids", "attention_mask")},
            **{k: moved[k] for k in policy.backbone.extra_inputs},
            **picture_inputs(moved),
            position_ids=position.to(policy.device),
            use_cache=False,
        )
        ids_QP = policy.head(out.last_hidden_state).argmax(-1).cpu()
    rows = zip(ids_QP, batch["attention_mask"].bool(), strict=True)
    return [policy.processor.decode(ids[mask].tolist())[-1:] for ids, mask in rows]
