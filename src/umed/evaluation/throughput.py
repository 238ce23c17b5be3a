"""How much faster the batches of an evaluation are than asking one query at a time; both in one run."""

import time

import torch
from tqdm import tqdm

from umed.chat import Prompt
from umed.data.mau import MauDataModule
from umed.models.contexts import generating
from umed.models.policy import Policy


def batches_against_alone(
    policy: Policy, data: MauDataModule, split: str, *, queries: int, max_new_tokens: int, batch_size: int
) -> dict[str, float]:
    """Greedy answers to so many queries of a split, in batches and then by a plain `generate` loop.

    Returns:
        `speed/batched` and `speed/alone` (queries a second, encoding of the pictures included), `speed/ratio` and
        `speed/same`, the share of queries that both give the same tokens.
    """
    prompts = data.split(split, queries)
    start = time.perf_counter()
    batched: list[list[int]] = []
    for batch in data.loader(prompts, batch_size):
        said = policy.sample(batch, 1, max_new_tokens, greedy=True)
        batched += [ids[mask].tolist() for ids, mask in zip(said.ids_BT.cpu(), said.mask_BT.cpu(), strict=True)]
    middle = time.perf_counter()
    alone = []
    for number in tqdm(range(len(prompts)), desc="one query at a time", unit="query", leave=False, disable=None):
        alone.append(_generated(policy, prompts[number], max_new_tokens))
    end = time.perf_counter()
    same = sum(a == b for a, b in zip(alone, batched, strict=True))
    batched_s, alone_s = (middle - start) / len(prompts), (end - middle) / len(prompts)
    return {
        "speed/batched": 1 / batched_s,
        "speed/alone": 1 / alone_s,
        "speed/ratio": alone_s / batched_s,
        "speed/same": same / len(prompts),
    }


def _generated(policy: Policy, prompt: Prompt, max_new_tokens: int) -> list[int]:
    """What transformers' own `generate` says, the last token included."""
    processor = policy.processor
    batch = {name: tensor.to(policy.device) for name, tensor in processor.collate([prompt]).items()}
    asked = {"do_sample": False, "max_new_tokens": max_new_tokens, "suppress_tokens": list(processor.suppressed_ids)}
    with generating(policy), torch.no_grad():
        said = policy.core.generate(
            **batch, **asked, eos_token_id=list(processor.eos_ids), pad_token_id=processor.pad_id
        )
    return said[0, batch["input_ids"].shape[1] :].tolist()
