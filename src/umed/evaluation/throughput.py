"""How much faster the batches of an evaluation are than asking one question at a time; both in one run."""

import time

import torch
from tqdm import tqdm

from umed.chat import Prompt
from umed.engine.engine import Engine
from umed.evaluation.datamodule import BenchmarkDataModule, spread_questions
from umed.models.contexts import generating
from umed.models.policy import Policy


def measure_throughput(
    engine: Engine, data: BenchmarkDataModule, name: str, *, questions: int, max_new_tokens: int
) -> dict[str, float]:
    """Greedy answers to so many questions of a benchmark, in batches and then by a plain `generate` loop; prints both.

    Returns:
        `speed/batched` and `speed/alone` (questions a second, encoding of the pictures included), `speed/ratio` and
        `speed/same`, the share of questions that both give the same tokens.
    """
    asked = spread_questions(data.benchmarks[name].questions(), questions)
    start = time.perf_counter()
    batched: list[list[int]] = []
    for batch in data.loader(name, questions=asked):
        answers = engine.sample([item.prompt for item in batch], 1, max_new_tokens, greedy=True)
        batched += [ids[mask].tolist() for ids, mask in zip(answers.ids_BT.cpu(), answers.mask_BT.cpu(), strict=True)]
    middle = time.perf_counter()
    single = data.loader(name, questions=asked).dataset
    bar = tqdm(range(len(asked)), desc="one question at a time", unit="question", leave=False, disable=None)
    alone = [_generate(engine.policy, single[k].prompt, max_new_tokens) for k in bar]
    end = time.perf_counter()
    batched_s, alone_s = (middle - start) / len(asked), (end - middle) / len(asked)
    same = sum(a == b for a, b in zip(alone, batched, strict=True)) / len(asked)
    print(
        f"batches of {data.batch_size}: {1 / batched_s:.1f} queries/s; generate, one query at a time: "
        f"{1 / alone_s:.1f}; {alone_s / batched_s:.1f} times as fast, the same tokens for {same:.1%}"
    )
    return {
        "speed/batched": 1 / batched_s,
        "speed/alone": 1 / alone_s,
        "speed/ratio": alone_s / batched_s,
        "speed/same": same,
    }


def _generate(policy: Policy, prompt: Prompt, max_new_tokens: int) -> list[int]:
    """What transformers' own `generate` answers, the last token included."""
    processor = policy.processor
    batch = {name: tensor.to(policy.device) for name, tensor in processor.collate([prompt]).items()}
    options = {"do_sample": False, "max_new_tokens": max_new_tokens, "suppress_tokens": list(processor.suppressed_ids)}
    with generating(policy), torch.no_grad():
        answer = policy.core.generate(
            **batch, **options, eos_token_id=list(processor.eos_ids), pad_token_id=processor.pad_id
        )
    return answer[0, batch["input_ids"].shape[1] :].tolist()
