"""Probabilities of classes and choices under a model that writes text."""

from collections.abc import Mapping, Sequence

import torch
from torch.nn.utils.rnn import pad_sequence

from umed.chat import Prompt
from umed.engine.engine import Engine
from umed.errors import InputError
from umed.models.reader import Prefix


def class_probabilities(
    engine: Engine,
    prompts: Sequence[Prompt],
    candidates: Sequence[Mapping[str, str]],
    prefix: Prefix | None = None,
) -> list[dict[str, float]]:
    """softmax over the labels of the mean log-probability of an answer's tokens, without its end.

    The distribution is the model's own, at temperature 1. All labels of all prompts are one batch; each prompt is read,
    and its picture encoded, once.

    Args:
        candidates: of each prompt, label -> answer text; the same number for each.
        prefix: of these prompts, if they have been read.

    Returns:
        Of each prompt, label -> probability.
    """
    count = len(candidates[0])
    assert {len(c) for c in candidates} == {count} and len(candidates) == len(prompts)
    rows = [engine.processor.encode(text) for c in candidates for text in c.values()]
    if not all(rows):
        raise InputError("data.protocol: a label's answer text is empty: nothing is there to be likely")
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=engine.processor.pad_id)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    ids, mask = (t.to(engine.device, non_blocking=True) for t in (ids, mask))
    logp_BT = engine.score(prompts, ids, mask, values=False, plain=True, prefix=prefix).logp_BT
    mean_B = (logp_BT * mask).sum(1) / mask.sum(1)
    probabilities_QL = mean_B.view(-1, count).softmax(-1).double().cpu()
    return [dict(zip(c, row, strict=True)) for c, row in zip(candidates, probabilities_QL.tolist(), strict=True)]
