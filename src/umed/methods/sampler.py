"""a ~ pi_old(. | x, q): sampled answers with all that the rewards and the objective need."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch.nn.utils.rnn import pad_sequence

from umed.boxes import Box
from umed.chat import Processor, Prompt
from umed.engine.engine import Engine
from umed.errors import check_choice
from umed.evaluation.rules.mentions import find_mentions
from umed.models.noise import Noise
from umed.models.spans import char_spans, rows_of, tokens_inside
from umed.rollout import Rollout
from umed.thoughts import find_thoughts, hide_thoughts


class Sampler:
    """Samples G answers a query and scores them under the policy that gave them.

    Args:
        num_candidates: G.
        max_new_tokens: T at most; an answer that reaches it is `truncated`.
        row: reading R4, the attention row of a name token: where it is read in (`token`) or one earlier (`predictor`).
        looking: which tokens' attention counts, those of the abnormality's `name` (the paper) or of the whole `answer`;
            tokens of thoughts never do.
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
        self,
        engine: Engine,
        prompts: Sequence[Prompt],
        needs: frozenset[str],
        noise: Noise,
        *,
        keep: bool = False,
        keep_attention: bool = False,
        places: Sequence[int] | None = None,
        begin: Callable[[Sequence[Prompt], Sequence[str]], None] | None = None,
    ) -> Rollout:
        """One rollout; attention is read only if a reward `needs` it.

        Args:
            keep, keep_attention: see `Engine.score`.
            places: of the prompts in the batch, which key the noise; None = as they stand.
            begin: is given the answers' texts before they are scored.
        """
        processor, g = engine.processor, self.num_candidates
        prefix = engine.read_prompts(prompts, g, self.max_new_tokens)
        answers = engine.sample(prompts, g, self.max_new_tokens, noise=noise, places=places, prefix=prefix)
        ids = answers.token_ids()
        raw = [processor.decode(i) for i in ids]
        texts = [processor.plain(text) for text in raw]
        if begin is not None:
            begin(prompts, texts)
        asked = [p for p in prompts for _ in range(g)]  # of each answer
        offsets = [char_spans(processor.pieces(i)) for i in ids]
        visible = [hide_thoughts(text) for text in raw]
        gold_spans = [
            find_mentions(text, p.record.category) if p.record.boxes else []  # a normal picture has none to name
            for text, p in zip(visible, asked, strict=True)
        ]
        name_spans = [
            [s for c in (p.record.category, *p.others) for s in find_mentions(text, c)]
            for text, p in zip(visible, asked, strict=True)
        ]
        length = answers.ids_BT.shape[1]
        name_BT = tokens_inside(offsets, gold_spans, length)
        if self.looking == "name":
            looking_BT = name_BT
        else:
            is_valid_BT = torch.arange(length) < torch.tensor([len(i) for i in ids])[:, None]
            looking_BT = is_valid_BT & ~tokens_inside(offsets, [find_thoughts(text) for text in raw], length)
        name_BN = rows_of(looking_BT, first=1 if self.row == "token" else 0).to(engine.device)
        asked_BN = name_BN if "attention" in needs else None
        scores = engine.score(
            prompts,
            answers.ids_BT,
            answers.mask_BT,
            asked_BN,
            prefix=prefix,
            keep=keep,
            keep_attention=keep_attention,
        )
        return Rollout(
            prompts=list(prompts),
            ids_BT=answers.ids_BT,
            mask_BT=answers.mask_BT,
            truncated_B=answers.truncated_B,
            raw=raw,
            texts=texts,
            boxes=[_read_boxes(processor, text, p) for text, p in zip(raw, asked, strict=True)],
            logp_BT=scores.logp_BT,
            sampled_logp_BT=answers.logp_BT,
            values_BT=scores.values_BT,
            name_BN=name_BN.cpu(),
            attention_BNP=scores.attention_BNP.cpu(),
            region_BP=pad_sequence([p.region for p in asked], True, torch.nan),
            box_span_BT=tokens_inside(offsets, [processor.box_spans(text) for text in raw], length).to(engine.device),
            name_span_BT=tokens_inside(offsets, name_spans, length).to(engine.device),
        )


def _read_boxes(processor: Processor, text: str, prompt: Prompt) -> list[Box] | None:
    """The boxes of an answer, None where none could be read; [] where it rightly writes none."""
    boxes = processor.read_boxes(text, prompt.view)
    return [] if boxes is None and not prompt.record.boxes and not processor.has_box_syntax(text) else boxes
