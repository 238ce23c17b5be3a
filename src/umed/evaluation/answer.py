"""Answers of a model to MAU queries, to normal pictures and to benchmark questions, as prediction lines."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch
from tqdm import tqdm

from umed.data.mau import MauDataModule, list_categories
from umed.evaluation.datamodule import Asked, BenchmarkDataModule
from umed.evaluation.lines import answer_lines
from umed.evaluation.rules.mau import Line
from umed.models.likelihood import class_probabilities
from umed.models.policy import Policy
from umed.pictures import picture_of
from umed.records import Record


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


def answer_controls(
    policy: Policy,
    data: MauDataModule,
    controls: Sequence[Record],
    split: str,
    title: str,
    *,
    max_new_tokens: int,
    at_most: int | None = None,
    batch_size: int = 64,
) -> list[Line]:
    """Greedy lines of pictures known to be normal, asked as the abnormal ones of their source are.

    Their queries take turns; `categories` are those of the source. Controls of a source without records are left out.
    """
    queries: dict[str, list[str]] = defaultdict(list)
    for record in data.records:
        if record.query not in queries[record.source]:
            queries[record.source].append(record.query)
    asked = []
    for number, control in enumerate(c for c in controls if c.split == split):
        source = control.source if control.source in queries else control.source.removesuffix("_controls")
        if own := queries.get(source):
            asked.append((source, replace(control, query=own[number % len(own)])))
    known = list_categories(data.records)
    lines: list[Line] = []
    pictures = [(source, record) for source, record in asked[:at_most]]
    with tqdm(total=len(pictures), desc=f"{title}: controls", unit="query", leave=False, disable=None) as bar:
        for start in range(0, len(pictures), batch_size):
            part = pictures[start : start + batch_size]
            prompts = [
                data.processor.prompt(picture_of(record, data.roots), record, known[source]) for source, record in part
            ]
            said = policy.sample(prompts, 1, max_new_tokens, greedy=True)
            for (source, _), line in zip(part, answer_lines(policy.processor, prompts, said), strict=True):
                lines.append({**line, "dataset": "mau_controls", "source": source, "categories": list(known[source])})
            bar.update(len(part))
    return lines


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
