"""Answers of a model to MAU queries, to normal pictures and to benchmark questions, as prediction lines."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from tqdm import tqdm

from umed.data.benchmarks import Asked, BenchmarkDataModule
from umed.data.mau import MauDataModule
from umed.metrics.mau import Line, answer_lines
from umed.models.likelihood import class_probabilities
from umed.models.policy import Policy


def answer_mau(
    policy: Policy,
    data: MauDataModule,
    split: str,
    title: str,
    *,
    max_new_tokens: int,
    at_most: int | None = None,
    samples: int = 0,
    seed: int = 0,
    batch_size: int = 64,
    look: str = "own",
) -> tuple[list[Line], list[Line]]:
    """Greedy lines and, for `samples` > 0, that many sampled lines a query (temperature 1), of a split."""
    greedy: list[Line] = []
    sampled: list[Line] = []
    prompts = data.split(split, at_most, look)
    with tqdm(total=len(prompts), desc=f"{title}: answering {split}", unit="query", leave=False, disable=None) as bar:
        for number, batch in enumerate(data.loader(prompts, batch_size)):
            greedy += answer_lines(policy.processor, batch, policy.sample(batch, 1, max_new_tokens, greedy=True))
            if samples:
                generator = torch.Generator(policy.device).manual_seed(seed * 1_000_003 + number)
                said = policy.sample(batch, samples, max_new_tokens, generator=generator)
                sampled += answer_lines(policy.processor, batch, said)
            bar.update(len(batch))
    return greedy, sampled


def answer_questions(
    policy: Policy, data: BenchmarkDataModule, title: str, *, max_new_tokens: int, look: str = "own"
) -> dict[str, list[Line]]:
    """Greedy answers to every question, by data set; `scores` where there are labels or choices."""
    found: dict[str, list[Line]] = defaultdict(list)
    with tqdm(total=len(data.items), desc=f"{title}: benchmarks", unit="question", leave=False, disable=None) as bar:
        for batch in data.loader(look):
            said = policy.sample([asked.prompt for asked in batch], 1, max_new_tokens, greedy=True)
            texts = [
                policy.processor.decode(ids[mask].tolist())
                for ids, mask in zip(said.ids_BT.cpu(), said.mask_BT.cpu(), strict=True)
            ]
            for asked, text, scores in zip(batch, texts, _scores(policy, batch), strict=True):
                found[asked.question.dataset].append(asked.question.line(text, scores))
            bar.update(len(batch))
    return dict(found)


def _scores(policy: Policy, batch: Sequence[Asked]) -> list[dict[str, float] | None]:
    """Class probabilities of each question that has candidates; those with as many go together."""
    scores: list[dict[str, float] | None] = [None] * len(batch)
    alike: dict[int, list[int]] = defaultdict(list)
    for number, asked in enumerate(batch):
        if asked.candidates:
            alike[len(asked.candidates)].append(number)
    for numbers in alike.values():
        prompts = [batch[n].prompt for n in numbers]
        for n, found in zip(
            numbers, class_probabilities(policy, prompts, [batch[n].candidates for n in numbers]), strict=True
        ):
            scores[n] = found
    return scores
