"""The gate: both sides give the same loss and gradients for the same answers, or nothing is timed."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from umed.bench import theirs
from umed.bench.job import Job
from umed.bench.ours import build, rewarding_config, tuning_config
from umed.bench.their_steps import order_of
from umed.methods.objective import total_weight
from umed.models.noise import Noise
from umed.records import RecordSet
from umed.rollout import TrainingBatch

LIMIT = 1e-5
STALE = 0.3  # spread of what is added to the old log-probabilities, so that clipping bites
Gradients = dict[str, Tensor]


def measure_parity(job: Job) -> dict[str, float]:
    """Differences in fp32 between ours and TRL's, of rewarding and fine-tuning.

    Returns:
        `loss`, relative to itself where it is above 1; `gradients`, relative to the largest one; `advantages`, after
        TRL's other divisor (spread of a sample + 1e-4) is undone.
    """
    adapter = job.shape.adapter and {**job.shape.adapter, "init_lora_weights": False}  # B = 0 would hide A's gradient
    job = replace(job, shape=replace(job.shape, dtype="float32", gpu=False, adapter=adapter))
    differences = [*_compare_rewarding(job), _compare_tuning(job)]
    return {name: max(d.get(name, 0.0) for d in differences) for name in ("loss", "gradients", "advantages")}


def _compare_rewarding(job: Job) -> list[dict[str, float]]:
    method: Any
    method, data = build(job, rewarding_config(job))
    method.configure_model()
    policy = method.policy
    prompts = next(iter(data.train_dataloader()))
    rollout = method.sampler(method.engine, prompts, method.needs, Noise(job.seed))
    scored = method.rewards(rollout)
    training = method.credited(rollout, scored, rollout.logp_BT)
    noise = torch.randn(rollout.logp_BT.shape, generator=torch.Generator().manual_seed(job.seed))
    stale = training.updated(logp_BT=training.logp_BT + STALE * noise)
    policy.processor.suppressed_ids = ()  # theirs suppresses image tokens when it samples, but not when it scores
    mine, _ = method.objective(policy, stale, total_weight(stale.mask_BT, method.objective.aggregation))
    mine.backward()
    model: Any = theirs.load_model(job)
    model.load_state_dict(policy.model.state_dict())
    records = RecordSet(data.records, data.roots)
    trainer = theirs.grpo_trainer(job, data.processor, records, order_of(data), model)
    differences = []
    for within in (nullcontext, theirs.answer_head):
        model.zero_grad()
        with within():
            inputs = inject(trainer, stale)
            advantages = _compare_advantages(stale, inputs["advantages"], scored.total_B)
            inputs |= {"advantages": stale.advantages_BT[:, 0], "old_per_token_logps": stale.logp_BT}
            loss = trainer.compute_loss(trainer.model, inputs)
            loss.backward()
        differences.append({"advantages": advantages, **compare(mine, policy.model, loss, model)})
    return differences


def inject(trainer: Any, rollout: TrainingBatch) -> dict[str, Any]:
    """The training batch that TRL's trainer makes of its next rows when its model gives our answers."""
    answers = [ids[mask].tolist() for ids, mask in zip(rollout.ids_BT, rollout.mask_BT, strict=True)]
    rows = [trainer.train_dataset[q] for q in range(len(rollout.prompts)) for _ in range(rollout.num_candidates)]
    trainer._generate_single_turn = lambda *args, **kwargs: (answers, None)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    made: dict[str, Any] = trainer._generate_and_score_completions(rows)
    return made


def _compare_advantages(rollout: TrainingBatch, found: Tensor, reward_B: Tensor) -> float:
    groups = reward_B.view(-1, rollout.num_candidates)
    population, sample = (groups.std(1, correction=c).repeat_interleave(rollout.num_candidates) for c in (0, 1))
    return float((rollout.advantages_BT[:, 0] * population - found * (sample + 1e-4)).abs().max())


def _compare_tuning(job: Job) -> dict[str, float]:
    method, data = build(job, tuning_config(job))
    method.configure_model()
    policy: Any = method.policy
    batch = next(iter(data.train_dataloader()))
    answers = [p.answer for p in batch]
    ids = pad_sequence(answers, True, policy.processor.pad_id)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(a) for a in answers])[:, None]
    mine = -(policy.score(batch, ids, mask, values=False, plain=True).logp_BT * mask).sum() / mask.sum()
    mine.backward()
    model: Any = theirs.load_model(job)
    model.load_state_dict(policy.model.state_dict())
    trainer = theirs.sft_trainer(job, data.processor, RecordSet(data.records, data.roots), order_of(data), model)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(_rows(trainer, len(batch))))
    loss.backward()
    return compare(mine, policy.model, loss, model)


def _rows(trainer: Any, count: int) -> Sequence[dict[str, Any]]:
    return [dict(trainer.train_dataset[k]) for k in range(count)]


def compare(mine: Tensor, model: nn.Module, other: Tensor, their_model: nn.Module) -> dict[str, float]:
    """Relative differences of two losses and of the gradients that they have left."""
    found, expected = gradients(model), gradients(their_model)
    largest = max(float(g.abs().max()) for g in expected.values())
    nothing = torch.zeros(())
    off = [(found.get(n, nothing) - expected.get(n, nothing)).abs().max() for n in found.keys() | expected.keys()]
    loss = float((mine - other).detach().abs()) / max(1.0, float(other.detach().abs()))
    return {"loss": loss, "gradients": float(max(off)) / largest}


def gradients(model: nn.Module) -> Gradients:
    """Those that are not all zero."""
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
