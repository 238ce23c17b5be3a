"""a ~ pi_old(. | x, q): sampled answers with everything that the rewards and the objective need of them."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from umed.chat import Prompt
from umed.errors import check_choice
from umed.evaluation.rules.mentions import find_mentions
from umed.models.policy import Policy, generating
from umed.rollout import Rollout


class Sampler:
    """Samples G answers a query and scores them under the policy that said them.

    Args:
        num_candidates: G.
        max_new_tokens: T at most; an answer that reaches it is `truncated`.
        row: reading R4, the attention row of a name token: where it is read in (`token`) or one earlier (`predictor`).
        looking: whose attention counts, the tokens of the abnormality's `name` (the paper) or of the whole `answer`.
    """

    def __init__(
        self,
        num_candidates: int = 4,
        max_new_tokens: int = 256,
        row: Literal["token", "predictor"] = "token",
        looking: Literal["name", "answer"] = "name",
    ) -> None:
        check_choice("method.row", row, "token", "predictor")
        check_choice("method.looking", looking, "name", "answer")
        self.num_candidates, self.max_new_tokens, self.row, self.looking = num_candidates, max_new_tokens, row, looking

    @torch.no_grad()
    def __call__(
        self, policy: Policy, prompts: Sequence[Prompt], needs: frozenset[str], generator: torch.Generator
    ) -> Rollout:
        """One rollout; attention is read only if a reward `needs` it."""
        processor, g = policy.processor, self.num_candidates
        answers = policy.sample(prompts, g, self.max_new_tokens, generator=generator)
        ids = [row[valid].tolist() for row, valid in zip(answers.ids_BT.cpu(), answers.mask_BT.cpu(), strict=False)]
        raw = [processor.decode(i) for i in ids]
        views = [p.view for p in prompts for _ in range(g)]
        categories = [p.record.category for p in prompts for _ in range(g)]
        known = [(p.record.category, *p.others) for p in prompts for _ in range(g)]
        offsets = [_offsets(processor.pieces(i)) for i in ids]
        gold_spans = [find_mentions(text, c) for text, c in zip(raw, categories, strict=False)]
        name_spans = [
            [s for c in names for s in find_mentions(text, c)] for text, names in zip(raw, known, strict=False)
        ]
        length = answers.ids_BT.shape[1]
        name_BT = _inside(offsets, gold_spans, length)
        looking_BT = name_BT if self.looking == "name" else answers.mask_BT.cpu()
        name_BN = _positions(looking_BT, first=1 if self.row == "token" else 0).to(policy.device)
        with generating(policy):
            said = policy.score(prompts, answers.ids_BT, answers.mask_BT, name_BN if "attention" in needs else None)
        empty = torch.zeros_like(said.logp_BT)
        rows = torch.zeros(len(ids))
        return Rollout(
            prompts=list(prompts),
            ids_BT=answers.ids_BT,
            mask_BT=answers.mask_BT,
            truncated_B=answers.truncated_B,
            raw=raw,
            texts=[processor.plain(text) for text in raw],
            boxes=[processor.read_boxes(text, view) for text, view in zip(raw, views, strict=False)],
            logp_BT=said.logp_BT,
            values_BT=said.values_BT,
            name_BN=name_BN.cpu(),
            attention_BNP=said.attention_BNP.cpu(),
            region_BP=pad_sequence([p.region for p in prompts for _ in range(g)], True, torch.nan),
            box_span_BT=_inside(offsets, [processor.box_spans(text) for text in raw], length).to(policy.device),
            name_span_BT=_inside(offsets, name_spans, length).to(policy.device),
            ref_logp_BT=said.logp_BT.clone(),
            penalty_BT=empty,
            reward_B=rows,
            attention_max_B=rows,
            advantages_BT=empty,
            returns_BT=empty,
        )


def rollout_stats(rollout: Rollout) -> dict[str, float]:
    """`rollout/*`: unreadable answers, mean length in tokens, truncated answers."""
    return {
        "rollout/unparsed": sum(b is None for b in rollout.boxes) / len(rollout.boxes),
        "rollout/length": rollout.mask_BT.sum(1).float().mean().item(),
        "rollout/truncated": rollout.truncated_B.float().mean().item(),
    }


def _offsets(pieces: list[str]) -> list[tuple[int, int]]:
    """Character span of each token in the joined text."""
    spans, end = [], 0
    for piece in pieces:
        spans.append((end, end + len(piece)))
        end += len(piece)
    return spans


def _inside(offsets: list[list[tuple[int, int]]], spans: list[list[tuple[int, int]]], length: int) -> Tensor:
    """(B, T) True on tokens that share a character with one of the answer's spans."""
    found = torch.zeros(len(offsets), length, dtype=torch.bool)
    for b, (tokens, wanted) in enumerate(zip(offsets, spans, strict=False)):
        for t, (start, end) in enumerate(tokens):
            found[b, t] = any(start < e and s < end for s, e in wanted)
    return found


def _positions(found_BT: Tensor, first: int) -> Tensor:
    """Rows of the answer pass of the True tokens, (B, N), -1 = none; token t is read in at row t + 1."""
    return pad_sequence([row.nonzero()[:, 0] + first for row in found_BT], True, -1)
