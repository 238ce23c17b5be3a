"""Counts the memory of a model's passes, without its weights and without a GPU.

A few batches of every kind of pass go through the real modules on the meta device (`live_bytes`). In the number of
queries the bytes alive at the peak grow linearly, so two counts give any other.
"""

from collections.abc import Callable, Sequence
from typing import Any

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
from umed.models.contexts import generating, uses_checkpointing
from umed.models.critics.shared import SharedCritic
from umed.models.logprobs import distribution
from umed.models.noise import inverse_cdf
from umed.models.policy import Policy

NAMES = 4  # tokens of an answer whose attention the rewards read
MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Planner:
    """Counts the passes of the methods on `cfg.model`.

    Args:
        text_tokens: of a prompt, besides those of its picture.
        gpu: whether a GPU's kernels compute dropout and attention.

    Raises:
        InputError: a configuration that cannot be read or followed.
    """

    def __init__(self, cfg: DictConfig, text_tokens: int = 128, gpu: bool = True) -> None:
        self.cfg, self.gpu = cfg, gpu
        self.processor = build_processor(cfg)
        self.prompts = encode_prompts(self.processor, text_tokens)
        self.prompt_tokens = len(self.prompts[0].inputs["input_ids"])

    def plan(self, sft: DictConfig, aar: DictConfig, evaluate: DictConfig) -> Plan:
        """All phases; each with the settings of its method, evaluation with those of the method that is evaluated."""
        phases = {"sft": self.tuning(sft), "aar": self.rewarding(aar), "evaluate": self.evaluation(evaluate)}
        return Plan(phases, self.prompt_tokens, self.prompts[0].view.tokens)

    def tuning(self, method: DictConfig) -> Phase:
        """One answer a query, with dropout; validation in between."""
        policy = build_weightless(self.cfg, self.processor)
        length = int(method.max_new_tokens)

        def backward(queries: int, answers: int, live: LiveBytes) -> int:
            ids, mask = _answers(queries, length)
            scores = policy.score(self._batch(queries), ids, mask, values=False)
            kept = live.now
            (-(scores.logp_BT * mask).sum() / mask.sum()).backward()
            return kept

        return self._training(policy, length, backward, [(1, 1), (2, 1), (6, 1)], 1, 0, False)

    def rewarding(self, method: DictConfig) -> Phase:
        """G answers a query, without dropout, with the critic and the attention that the rewards read."""
        length, most = int(method.max_new_tokens), int(method.num_candidates)
        values = find_target("credit", method.credit).uses_values
        parts = method.rewards.parts
        needs = {n for key in parts for n in find_target(f"reward.parts.{key}", parts[key]).needs}
        read = "attention" in needs
        graph = read and method.objective.reward_term == "differentiable"
        critic: Any = instantiate(method.critic) if values else SharedCritic
        policy = build_weightless(self.cfg, self.processor, 0.0, critic)

        def backward(queries: int, answers: int, live: LiveBytes) -> int:
            ids, mask = _answers(queries * answers, length)
            names = _names(len(ids)) if graph else None
            scores = policy.score(self._batch(queries), ids, mask, names, values=values)
            kept = live.now
            loss = (scores.logp_BT + scores.entropy_BT + scores.values_BT).where(mask, 0.0).sum()
            (loss + scores.attention_BNP.sum()).backward()
            return kept

        kept = sum(p.nbytes for p in policy.body()) if (method.kl or {}).get("coef") else 0
        cuts = [(1, 1), (1, most), (2, most), (4, most)]
        return self._training(policy, length, backward, sorted(set(cuts)), most, kept, True, values, read)

    def evaluation(self, method: DictConfig) -> Phase:
        """One answer a query and no training."""
        policy = build_weightless(self.cfg, self.processor, 0.0)
        length = int(method.max_new_tokens)
        weights, spared = self._weights(policy)
        line, cache = self._cached(policy, length, 1, spared)
        return Phase(self.prompt_tokens + length, (line,), weights, 0.0, cache)

    def _training(
        self,
        policy: Policy,
        length: int,
        backward: Callable[[int, int, LiveBytes], int],
        cuts: Sequence[tuple[int, int]],
        most: int,
        reference: int,
        scored: bool,
        values: bool = False,
        read: bool = False,
    ) -> Phase:
        """A phase with passes of both kinds.

        Args:
            cuts: numbers of queries, and of answers to each, with which passes with gradients are counted.
            most: answers to a query in passes that keep a cache.
            reference: bytes of the reference policy's own weights.
            scored: whether sampled answers are scored.
        """
        trained = [p for p in policy.parameters() if p.requires_grad]
        weights, spared = self._weights(policy)
        moments = 2 * sum(p.nbytes for p in trained)
        fixed = moments + reference - spared
        shared = policy.backbone.shares_prefix and not uses_checkpointing(policy.core)
        counts, saved = [], []
        for p in trained:
            p.grad = torch.empty_like(p)
        held = [p.grad for p in trained if p.grad is not None]
        for queries, answers in cuts:
            prompts = queries if shared else queries * answers
            tokens = prompts * self.prompt_tokens + queries * answers * length
            kept, peak = self._count(policy, lambda live, q=queries, a=answers: backward(q, a, live), held)
            counts.append((tokens, peak + fixed))
            saved.append((tokens, kept))
        for p in trained:
            p.grad = None
        (t0, kept0), (t1, kept1) = saved[-2:]
        cached, cache = self._cached(policy, length, most, fixed, scored, values, read)
        # the optimizer's step comes after the activations are gone: gradients, and one more copy
        step = Line(((0, weights + fixed + moments),))
        lines = (Line(tuple(counts)), cached, step)
        return Phase(self.prompt_tokens + length, lines, weights, (kept1 - kept0) / (t1 - t0), cache)

    def _cached(
        self,
        policy: Policy,
        length: int,
        answers: int,
        fixed: float,
        scored: bool = False,
        values: bool = False,
        read: bool = False,
    ) -> tuple[Line, float]:
        """Passes without gradients: prompts read, answers begun, and scored where asked; bytes a token of the cache."""
        counts, cache = [], 0.0

        def run(queries: int, live: LiveBytes) -> int:
            prompts = self._batch(queries)
            prefix = policy.read_prompts(prompts)
            with generating(policy), torch.no_grad():
                rows = prefix.spread(answers, length, keep=True)
                hidden = policy.reader.step(rows, rows.last_B[:, None], rows.mask_BP, -1)
                logp = distribution(policy.head(hidden[:, -1]), policy.temperature, policy.processor.suppressed_ids)
                inverse_cdf(logp, torch.rand(len(logp)))
                storages = {t.untyped_storage()._cdata: t for t in _tensors(rows.cache.layers)}
                size = sum(t.untyped_storage().nbytes() for t in storages.values())
                del rows, hidden, logp, storages
                if scored:
                    ids, mask = _answers(queries * answers, length)
                    names = _names(len(ids)) if read else None
                    policy.score(prompts, ids, mask, names, values=values, prefix=prefix)
            return size

        for queries in (2, 8):
            tokens = queries * answers * (self.prompt_tokens + length)
            size, peak = self._count(policy, lambda live, q=queries: run(q, live))
            counts.append((tokens / CACHED, peak + fixed))
            cache = size / tokens
        return Line(tuple(counts)), cache

    def _count(self, policy: Policy, run: Callable[[LiveBytes], int], held: Sequence[Tensor] = ()) -> tuple[int, int]:
        """What a pass returns, and the peak of all that is alive."""
        live = LiveBytes([*policy.parameters(), *policy.buffers(), *held])
        with kernels_of(self.gpu, MIXED.get(str(self.cfg.trainer.precision))), live:
            return run(live), live.peak

    def _weights(self, policy: Policy) -> tuple[int, int]:
        """Bytes of all weights, and those of them that are spared by quantization."""
        size = LiveBytes([*policy.parameters(), *policy.buffers()]).now
        if self.cfg.model.quantization is None:
            return size, 0
        spared, unpacked = quantized_bytes(policy)
        return size - spared, spared - unpacked

    def _batch(self, queries: int) -> list[Prompt]:
        """The longest prompt first, of several queries one that is shorter."""
        long, short = self.prompts
        return [long, short, *[long] * (queries - 2)][:queries]


def _answers(rows: int, length: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(rows, length, dtype=torch.long), torch.ones(rows, length, dtype=torch.bool)


def _names(rows: int) -> Tensor:
    return torch.arange(NAMES).expand(rows, -1)


def _tensors(layers: Sequence[Any]) -> list[Tensor]:
    return [t for layer in layers for t in tree_leaves(vars(layer)) if isinstance(t, Tensor)]
