"""The tokens of an answer that name an abnormality, and the share of their attention on its region."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from umed.chat import Processor, Prompt
from umed.engine.engine import Engine
from umed.evaluation.question import BoxQuestion, Question
from umed.evaluation.rules.mentions import find_mentions
from umed.models.reader import Prefix
from umed.models.spans import char_spans, rows_of, tokens_inside
from umed.rewards.vision_relevance import attention_share
from umed.rollout import Answers
from umed.thoughts import hide_thoughts


def find_names(processor: Processor, answers: Answers, names: Sequence[Sequence[str]]) -> Tensor:
    """Rows of the answer pass of the tokens that name one of these, (B, N), -1 = none; none within thoughts.

    Args:
        names: of each answer.
    """
    ids = answers.token_ids()
    texts = [hide_thoughts(processor.decode(of_answer)) for of_answer in ids]
    spans = [
        [span for name in of_answer for span in find_mentions(text, name)]
        for text, of_answer in zip(texts, names, strict=True)
    ]
    tokens = [char_spans(processor.pieces(of_answer)) for of_answer in ids]
    return rows_of(tokens_inside(tokens, spans, answers.ids_BT.shape[1]), first=1)


def measure_attention(
    engine: Engine,
    prompts: Sequence[Prompt],
    questions: Sequence[Question],
    answers: Answers,
    prefix: Prefix | None = None,
) -> list[float | None]:
    """Equation (12) of one answer to each question; None where it names no abnormality or has no gold region.

    Args:
        prefix: of the prompts, if they were read.
    """
    with_region = [q if isinstance(q, BoxQuestion) and q.gold_boxes else None for q in questions]
    name_BN = find_names(engine.processor, answers, [(q.category,) if q else () for q in with_region])
    if engine.policy.backbone.no_attention or not name_BN.shape[1]:
        return [None] * len(questions)
    scores = engine.score(
        prompts, answers.ids_BT, answers.mask_BT, name_BN.to(engine.device), values=False, prefix=prefix, logits=False
    )
    regions = [p.view.patch_weights(q.true_boxes if q else []) for p, q in zip(prompts, with_region, strict=True)]
    shares = attention_share(
        scores.attention_BNP.float().cpu(), pad_sequence(regions, True, torch.nan), name_BN
    ).tolist()
    return [share if named else None for share, named in zip(shares, (name_BN >= 0).any(1).tolist(), strict=True)]
