"""Where a model looks while it names an abnormality."""

import numpy as np
import torch

from umed.chat import Prompt
from umed.evaluation.ask import records_to_predictions
from umed.evaluation.prediction import Prediction
from umed.evaluation.rules.mentions import find_mentions
from umed.models.policy import Policy
from umed.thoughts import hide_thoughts


@torch.no_grad()
def answer_with_attention(policy: Policy, prompt: Prompt, max_new_tokens: int) -> tuple[Prediction, np.ndarray | None]:
    """The greedy answer, and the attention of the tokens that name an abnormality on the picture's tokens.

    Returns:
        The prediction, and a 2D map of equation (6)'s weights over the picture; None when no abnormality is named.
    """
    processor, record = policy.processor, prompt.record
    answers = policy.sample([prompt], 1, max_new_tokens, greedy=True)
    ids = answers.ids_BT[0][answers.mask_BT[0]].tolist()
    text, ends = hide_thoughts(processor.decode(ids)), np.cumsum([len(piece) for piece in processor.pieces(ids)])
    spans = [span for name in (record.category, *prompt.others) for span in find_mentions(text, name)]
    tokens = enumerate(zip([0, *ends[:-1]], ends, strict=True))
    # token t is read in at row t + 1
    rows = [t + 1 for t, (start, end) in tokens if any(start < e and s < end for s, e in spans)]
    [prediction] = records_to_predictions(processor, [prompt], answers)
    if not rows:
        return prediction, None
    name_BN = torch.tensor([rows], device=policy.device)
    scores = policy.score([prompt], answers.ids_BT, answers.mask_BT, name_BN)
    return prediction, prompt.view.heat(scores.attention_BNP[0].mean(0).float().cpu().numpy())
