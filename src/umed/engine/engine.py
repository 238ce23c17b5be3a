"""`Engine`: a policy's passes over any number of queries, cut so that each fits the budget."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields

import torch
from torch import Tensor

from umed.chat import Processor, Prompt
from umed.engine.budget import Budget, Part
from umed.engine.merge import merge_rows
from umed.models.contexts import generating, uses_checkpointing
from umed.models.noise import Noise
from umed.models.policy import NO_NOISE, Policy, Scores
from umed.models.reader import Prefix
from umed.rollout import Answers

LossOf = Callable[[Part], tuple[Tensor, dict[str, Tensor]]]


class Engine:
    """Samples, scores and computes gradients with one policy; the results do not depend on the cut.

    Args:
        policy: as long as it lives; its weights may change between calls.
        budget: None = no limit.
    """

    def __init__(self, policy: Policy, budget: Budget | None = None) -> None:
        self.policy, self.budget = policy, budget or Budget()
        self._live: Scores | None = None

    @property
    def processor(self) -> Processor:
        return self.policy.processor

    @property
    def device(self) -> torch.device:
        return self.policy.device

    def read_prompts(self, prompts: Sequence[Prompt], num_candidates: int, max_new_tokens: int) -> Prefix | None:
        """The prompts read once for several calls that follow; None where the budget needs several parts."""
        answers = [max_new_tokens] * (len(prompts) * num_candidates)

        def step() -> Prefix | None:
            lengths = _lengths(prompts)
            if not self.budget.fits(lengths, answers, cached=True):
                return None
            self.budget.cut(lengths, answers, cached=True)  # what is halved where the memory is not enough
            return self.policy.read_prompts(prompts)

        return self.budget.run(step)

    def sample(
        self,
        prompts: Sequence[Prompt],
        num_candidates: int = 1,
        max_new_tokens: int = 256,
        *,
        greedy: bool = False,
        noise: Noise = NO_NOISE,
        places: Sequence[int] | None = None,
        temperature: float | None = None,
        prefix: Prefix | None = None,
    ) -> Answers:
        """`Policy.sample` within the budget."""
        places = range(len(prompts)) if places is None else places

        def sample_part(part: Part, prefix: Prefix | None) -> Answers:
            return self.policy.sample(
                [prompts[q] for q in part.queries],
                len(part.candidates),
                max_new_tokens,
                greedy=greedy,
                noise=noise,
                places=[places[q] for q in part.queries],
                first_candidate=part.candidates.start,
                temperature=temperature,
                prefix=prefix,
            )

        def step() -> Answers:
            answers = [max_new_tokens] * (len(prompts) * num_candidates)
            parts = self.budget.cut(_lengths(prompts), answers, cached=True)
            if len(parts) == 1:
                return sample_part(parts[0], prefix)
            sampled = [(part.rows(num_candidates), sample_part(part, None)) for part in parts]
            return merge_rows(sampled, max(len(a.ids_BT[0]) for _, a in sampled), {"ids_BT": self.processor.pad_id})

        return self.budget.run(step)

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[Prompt],
        ids_BT: Tensor,
        mask_BT: Tensor,
        name_BN: Tensor | None = None,
        *,
        values: bool = True,
        plain: bool = False,
        prefix: Prefix | None = None,
        keep: bool = False,
        keep_attention: bool = False,
        logits: bool = True,
    ) -> Scores:
        """`Policy.score` within the budget, in eval mode and without gradients.

        Args:
            prefix: of `read_prompts`, if they were read.
            keep: these answers are what the next gradients are of: where they fit in one part, their graph is kept for
                `take_live`.
            keep_attention: too, with the graph of their attention.
            logits: see `Policy.score`.
        """
        num_candidates, lengths = len(ids_BT) // len(prompts), mask_BT.sum(1).tolist()
        if keep:
            self._live = None

        def step() -> Scores:
            if keep and not checkpointed and self.budget.fits(_lengths(prompts), lengths, cached=False, shared=shared):
                self._cut_with_gradients(prompts, lengths)
                with torch.enable_grad():
                    live = self.policy.score(
                        prompts, ids_BT, mask_BT, name_BN, values=values, plain=plain, attention_graph=keep_attention
                    )
                self._live = live
                return Scores(*(getattr(live, f.name).detach() for f in fields(live)))
            parts = self.budget.cut(_lengths(prompts), lengths, cached=True)
            if len(parts) == 1:
                return self.policy.score(
                    prompts, ids_BT, mask_BT, name_BN, values=values, plain=plain, prefix=prefix, logits=logits
                )
            scored = []
            for part in parts:
                rows = part.rows(num_candidates)
                here = rows.to(ids_BT.device)
                names = None if name_BN is None else name_BN[rows.to(name_BN.device)]
                few, width = [prompts[q] for q in part.queries], part.width
                ids, mask = ids_BT[here, :width], mask_BT[here, :width]
                scored.append(
                    (rows, self.policy.score(few, ids, mask, names, values=values, plain=plain, logits=logits))
                )
            return merge_rows(scored, ids_BT.shape[1])

        checkpointed, shared = uses_checkpointing(self.policy.core), self.policy.backbone.shares_prefix
        with generating(self.policy):
            return self.budget.run(step)

    def take_live(self) -> Scores | None:
        """The scores that `score` has kept with their graph, once; None where there are none."""
        live, self._live = self._live, None
        return live

    def _cut_with_gradients(self, prompts: Sequence[Prompt], lengths: Sequence[int]) -> list[Part]:
        shared = self.policy.backbone.shares_prefix and not uses_checkpointing(self.policy.core)
        return self.budget.cut(_lengths(prompts), lengths, cached=False, shared=shared)

    def backward(
        self,
        prompts: Sequence[Prompt],
        mask_BT: Tensor,
        loss_of: LossOf,
        run_backward: Callable[[Tensor], None] = Tensor.backward,
        seed: int | None = None,
    ) -> dict[str, Tensor]:
        """Gradients of a loss that is a sum over answers; the sums of the named numbers of its parts.

        Args:
            mask_BT: the valid tokens of the answers; the answers to one query stand together.
            loss_of: the loss of a part and its named numbers.
            seed: of dropout.
        """
        lengths = mask_BT.sum(1).tolist()

        def step() -> dict[str, Tensor]:
            for p in self.policy.parameters():
                p.grad = None  # of a try for which the memory was not enough
            if seed is not None:
                torch.manual_seed(seed)
            sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
            for part in self._cut_with_gradients(prompts, lengths):
                loss, numbers = loss_of(part)
                run_backward(loss)
                for name, value in numbers.items():
                    sums[name] = sums[name] + value.detach()
            return dict(sums)

        return self.budget.run(step)


def _lengths(prompts: Sequence[Prompt]) -> list[int]:
    return [len(p.inputs["input_ids"]) for p in prompts]
