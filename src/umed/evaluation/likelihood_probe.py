"""Which prefix and which end a checkpoint was trained with: the likelihood of gold answers with each.

The ids are not in the weights, and the published scripts disagree on the prefix; a wrong one costs likelihood.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from umed.chat import Processor, Prompt
from umed.engine.engine import Engine
from umed.errors import check_positive
from umed.evaluation.benchmarks.pmc_vqa import PmcVqa
from umed.evaluation.protocol import Protocol

AT_ONCE = 8  # prompts of a pass


@dataclass(frozen=True)
class Likelihood:
    """Means over answers, of a prefix.

    Args:
        answer: of the mean log-probability of an answer's tokens, without its end.
        ends: end id -> log-probability of that id behind the answer.
    """

    prefix: int
    answer: float
    ends: dict[int, float]


def encode_items(processor: Processor, protocol: Protocol, options: Any) -> tuple[list[Prompt], list[str]]:
    """The first items of PMC-VQA and their gold answers, as the protocol words both.

    Args:
        options: `root`, `split_file`, `mode` and `questions`, as in conf/task/convert.yaml.

    Raises:
        InputError: no such benchmark, or a number that is none.
    """
    check_positive("convert.probe.questions", options.questions)
    benchmark = PmcVqa(root=options.root, split_file=options.split_file, modes=[options.mode])
    prompts, answers = [], []
    for question in benchmark.questions()[: options.questions]:
        picture = benchmark.picture(question)
        prompts.append(processor.prompt(picture, question.to_record(protocol.query(question), *picture.size)))
        answers.append(protocol.candidates(question).get(question.gold, question.gold))
    return prompts, answers


def compare_ids(
    engine: Engine, prompts: Sequence[Prompt], answers: Sequence[str], prefixes: Sequence[int], ends: Sequence[int]
) -> list[Likelihood]:
    """One line a prefix, in its order.

    Args:
        prompts: whose prefix is the token behind the last image token.
        answers: their gold texts.
    """
    return [_measure(engine, [_with_prefix(p, prefix) for p in prompts], answers, prefix, ends) for prefix in prefixes]


def _with_prefix(prompt: Prompt, prefix: int) -> Prompt:
    ids = prompt.inputs["input_ids"].clone()
    ids[prompt.view.tokens] = prefix
    return replace(prompt, inputs={**prompt.inputs, "input_ids": ids})


def _measure(
    engine: Engine, prompts: Sequence[Prompt], answers: Sequence[str], prefix: int, ends: Sequence[int]
) -> Likelihood:
    tokens = [engine.processor.encode(text) for text in answers]
    of_end: dict[int, float] = {}
    total = 0.0
    for end in ends:
        rows = [torch.tensor([*row, end]) for row in tokens]
        total, of_end[end] = 0.0, 0.0
        for start in range(0, len(rows), AT_ONCE):
            few = rows[start : start + AT_ONCE]
            ids = pad_sequence(few, batch_first=True, padding_value=engine.processor.pad_id).to(engine.device)
            length = torch.tensor([len(row) for row in few], device=engine.device)
            mask = torch.arange(ids.shape[1], device=engine.device) < length[:, None]
            logp = engine.score(prompts[start : start + AT_ONCE], ids, mask, values=False, plain=True).logp_BT
            last = logp.gather(1, length[:, None] - 1)[:, 0]
            total += float((((logp * mask).sum(1) - last) / (length - 1)).sum())
            of_end[end] += float(last.sum())
    count = len(tokens)
    return Likelihood(prefix, total / count, {end: value / count for end, value in of_end.items()})


def describe(found: Sequence[Likelihood]) -> list[str]:
    """Lines for a reader, the last with the ids that fit best."""
    lines = [
        f"prefix {one.prefix}: log-likelihood {one.answer:.3f} a token of gold answers; "
        + ", ".join(f"end {end}: {value:.3f}" for end, value in one.ends.items())
        for one in found
    ]
    prefix, end = choose(found)
    return [*lines, f"best: convert.prefix_token_id={prefix} convert.eos_token_id={end}"]


def choose(found: Sequence[Likelihood]) -> tuple[int, int]:
    """The prefix with the likeliest answers, and the likeliest end behind it."""
    best: Any = max(found, key=lambda one: one.answer)
    return best.prefix, max(best.ends, key=best.ends.get)
