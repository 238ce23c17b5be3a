"""Counts the memory of a model's passes, without its weights and without a GPU.

A few batches of every kind of pass go through the real modules on the meta device (`live_bytes`). In the number of
queries the bytes alive at the peak grow linearly, so two counts give any other.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.utils._pytree import tree_leaves

from umed.chat import Prompt
from umed.config import find_target
from umed.engine.budget import CACHED
from umed.engine.kernels import kernels_of
from umed.engine.live_bytes import LiveBytes
from umed.engine.plan import Line, Phase, Plan
from umed.engine.weightless import build_processor, build_weightless, encode_prompts, quantized_bytes
from umed.models.batch import picture_inputs
from umed.models.contexts import generating, uses_checkpointing
from umed.models.critics.shared import SharedCritic
from umed.models.features import compute_features, group_pictures, is_frozen
from umed.models.logprobs import distribution
from umed.models.merging import merged
from umed.models.noise import inverse_cdf
from umed.models.policy import Policy

T = TypeVar("T")

NAMES = 4  # tokens of an answer whose attention the rewards read
MOST_PICTURES = 64  # of a batch
MANY = 4  # queries of a count; another is of one
MIXED = {"bf16-mixed": torch.bfloat16, "bf16": torch.bfloat16, "16-mixed": torch.float16, "16": torch.float16}


@dataclass(frozen=True)
class Work:
    """What a phase does with a policy.

    Args:
        length, candidates: T and G.
        trains: whether there are passes with gradients, and an optimizer.
        rewards: whether sampled answers are scored and learned from, rather than gold ones.
        values: whether the critic is asked; reads: whether attention is; through_attention: with its graph.
        reference: bytes of the reference policy's own weights.
    """

    policy: Policy
    length: int
    candidates: int = 1
    trains: bool = True
    rewards: bool = False
    values: bool = False
    reads: bool = False
    through_attention: bool = False
    reference: int = 0

    @property
    def trained(self) -> list[Tensor]:
        return [p for p in self.policy.parameters() if p.requires_grad] if self.trains else []


class Planner:
    """Counts the phases of `cfg.model`.

    Args:
        text_tokens: of a prompt, besides those of its picture.
        gpu: whether a GPU's kernels compute dropout and attention.

    Raises:
        InputError: a configuration that cannot be read or followed.
    """

    def __init__(self, cfg: DictConfig, text_tokens: int = 128, gpu: bool = True) -> None:
        self.cfg, self.gpu = cfg, gpu
        self.mixed = MIXED.get(str(cfg.trainer.precision))
        self.processor = build_processor(cfg)
        self.prompts = encode_prompts(self.processor, text_tokens)
        self.prompt_tokens = len(self.prompts[0].inputs["input_ids"])

    def plan(self, sft: DictConfig, aar: DictConfig, evaluate: DictConfig) -> Plan:
        """All phases, each with the settings of a method."""
        phases = {"sft": self.tuning(sft), "aar": self.rewarding(aar), "evaluate": self.evaluation(evaluate)}
        return Plan(phases, self.prompt_tokens, self.prompts[0].view.tokens)

    def tuning(self, method: DictConfig) -> Phase:
        """One answer a query, with the adapter's dropout; validation in between."""
        return self._count(Work(build_weightless(self.cfg, self.processor), method.max_new_tokens))

    def rewarding(self, method: DictConfig) -> Phase:
        """G answers a query, without dropout, with the critic and the attention that credit and rewards ask for."""
        values = find_target("credit", method.credit).uses_values
        critic: Any = instantiate(method.critic) if values else SharedCritic
        policy = build_weightless(self.cfg, self.processor, 0.0, critic)
        parts = method.rewards.parts
        reads = any("attention" in find_target(f"reward.parts.{key}", parts[key]).needs for key in parts)
        work = Work(
            policy,
            method.max_new_tokens,
            method.num_candidates,
            rewards=True,
            values=values,
            reads=reads,
            through_attention=method.objective.reward_term == "differentiable",
            reference=sum(p.nbytes for p in policy.body()) if method.kl.coef else 0,
        )
        return self._count(work)

    def evaluation(self, method: DictConfig) -> Phase:
        """One answer a query and no training."""
        policy = build_weightless(self.cfg, self.processor, 0.0)
        return self._count(Work(policy, method.max_new_tokens, trains=False))

    def _count(self, work: Work) -> Phase:
        weights, spared = self._weights(work.policy)
        trained = sum(p.nbytes for p in work.trained)
        fixed = 2 * trained + work.reference - spared  # two moments of AdamW
        lines, cache = self._passes_with_cache(work, fixed)
        activations = 0.0
        if is_frozen(work.policy.core.model, work.policy.backbone.tower):
            lines["pictures"] = self._pictures(work, fixed)
        if work.trains:
            lines["gradients"], activations = self._passes_with_gradients(work, fixed)
            # the optimizer steps when activations are gone, with the gradients and one more copy of them
            lines["optimizer"] = Line(((0, weights + 4 * trained + work.reference),))
        return Phase(self.prompt_tokens + work.length, lines, weights, activations, cache)

    def _pictures(self, work: Work, fixed: float) -> Line:
        """The peak of encoding a pass's pictures, which grows until a call of the frozen tower has all it takes."""
        model, processor = work.policy.core.model, work.policy.processor
        group = next(group_pictures([self.prompts[0]] * MOST_PICTURES, True))

        def encode(few: list[Prompt], live: LiveBytes) -> int:
            if hasattr(model, "get_image_features"):
                with generating(work.policy):
                    compute_features(model, picture_inputs(processor.collate(few)))
            return live.peak

        one, many = (self._run(work.policy, partial(encode, few)) + fixed for few in (group[:1], group))
        row = work.candidates * (self.prompt_tokens + work.length) / CACHED
        return Line(((row, one), (len(group) * row, many), (2 * len(group) * row, many)))

    def _passes_with_gradients(self, work: Work, fixed: float) -> tuple[Line, float]:
        """Their peak beside the gradients of earlier parts, and the bytes a token that they save."""
        policy, trained = work.policy, work.trained
        shared = policy.backbone.shares_prefix and not uses_checkpointing(policy.core)
        counts, saved = [], []
        for p in trained:
            p.grad = torch.empty_like(p)
        for queries, answers in sorted({(1, 1), (1, work.candidates), (MANY, work.candidates)}):
            prompts = queries if shared else queries * answers
            tokens = prompts * self.prompt_tokens + queries * answers * work.length
            kept, peak = self._run(policy, partial(self._backward, work, queries, answers))
            counts.append((tokens, peak + fixed))
            saved.append((tokens, kept))
        for p in trained:
            p.grad = None
        (t0, kept0), (t1, kept1) = saved[-2:]
        return Line(tuple(counts)), (kept1 - kept0) / (t1 - t0)

    def _backward(self, work: Work, queries: int, answers: int, live: LiveBytes) -> tuple[int, int]:
        """One pass with gradients: what is alive between its halves, and the peak."""
        ids, mask = self._answers(queries * answers, work.length)
        names = self._names(len(ids)) if work.through_attention else None
        scores = work.policy.score(self._batch(queries), ids, mask, names, values=work.values, plain=not work.rewards)
        kept = live.now
        loss = scores.logp_BT
        if work.rewards:
            loss = loss + scores.entropy_BT + scores.values_BT
        (loss.where(mask, 0.0).sum() + scores.attention_BNP.sum()).backward()
        return kept, live.peak

    def _passes_with_cache(self, work: Work, fixed: float) -> tuple[dict[str, Line], float]:
        """The peaks of passes that keep a cache only, and its bytes a token."""
        counts: dict[str, list[tuple[float, float]]] = defaultdict(list)
        cache = 0.0
        for queries in (2, 2 * MANY):
            tokens = queries * work.candidates * (self.prompt_tokens + work.length)
            size, peaks = self._run(work.policy, partial(self._sample, work, queries))
            cache = size / tokens
            for name, peak in peaks.items():
                counts[name].append((tokens / CACHED, peak + fixed))
        return {name: Line(tuple(pairs)) for name, pairs in counts.items()}, cache

    def _sample(self, work: Work, queries: int, live: LiveBytes) -> tuple[int, dict[str, int]]:
        """Prompts read, answers begun, and scored where they are rewarded: bytes of the cache, and the peaks."""
        policy, prompts = work.policy, self._batch(queries)
        merge = "false" if self.mixed and policy.merge == "auto" else policy.merge  # meta tensors know no autocast
        prefix = policy.read_prompts(prompts)
        peaks = {"prompts": live.take_peak()}
        with generating(policy), torch.no_grad():
            rows = prefix.spread(work.candidates, work.length, keep=True)
            with merged(policy.model, merge):
                hidden = policy.reader.step(rows, rows.last_B[:, None], rows.mask_BP, -1)
                logp = distribution(policy.head(hidden[:, -1]), policy.temperature, policy.processor.suppressed_ids)
                inverse_cdf(logp, torch.rand(len(logp)))
            tensors = [t for layer in rows.cache.layers for t in tree_leaves(vars(layer)) if isinstance(t, Tensor)]
            size = LiveBytes(tensors).now
            del rows, hidden, logp, tensors
            peaks["sampling"] = live.take_peak()
            if work.rewards:
                ids, mask = self._answers(queries * work.candidates, work.length)
                names = self._names(len(ids)) if work.reads else None
                policy.score(prompts, ids, mask, names, values=work.values, prefix=prefix)
                peaks["scoring"] = live.take_peak()
        return size, peaks

    def _run(self, policy: Policy, step: Callable[[LiveBytes], T]) -> T:
        """A step on the meta device, with the weights and gradients that are there."""
        grads = [p.grad for p in policy.parameters() if p.grad is not None]
        live = LiveBytes([*policy.parameters(), *policy.buffers(), *grads])
        with kernels_of(self.gpu, self.mixed), live:
            return step(live)

    def _weights(self, policy: Policy) -> tuple[int, int]:
        """Bytes of all weights, and how many fewer than they are counted with there are where they are quantized."""
        size = LiveBytes([*policy.parameters(), *policy.buffers()]).now
        if self.cfg.model.quantization is None:
            return size, 0
        spared, unpacked = quantized_bytes(policy)
        return size - spared, spared - unpacked

    def _batch(self, queries: int) -> list[Prompt]:
        """The longest prompt first; of several queries one that is shorter."""
        long, short = self.prompts
        return [long, short, *[long] * (queries - 2)][:queries]

    def _answers(self, rows: int, length: int) -> tuple[Tensor, Tensor]:
        return torch.zeros(rows, length, dtype=torch.long), torch.ones(rows, length, dtype=torch.bool)

    def _names(self, rows: int) -> Tensor:
        return torch.arange(NAMES).expand(rows, -1)
