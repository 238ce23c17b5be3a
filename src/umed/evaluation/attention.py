"""Where a model looks while it names an abnormality."""

import numpy as np
import torch

from umed.chat import Prompt
from umed.evaluation.ask import records_to_predictions
from umed.evaluation.named_tokens import find_names
from umed.evaluation.prediction import Prediction
from umed.models.policy import Policy


@torch.no_grad()
def answer_with_attention(policy: Policy, prompt: Prompt, max_new_tokens: int) -> tuple[Prediction, np.ndarray | None]:
    """The greedy answer, and the attention of the tokens that name an abnormality on the picture's tokens.

    Returns:
        The prediction, and a 2D map of equation (6)'s weights over the picture; None when no abnormality is named.
    """
    answers = policy.sample([prompt], 1, max_new_tokens, greedy=True)
    [prediction] = records_to_predictions(policy.processor, [prompt], answers)
    name_BN = find_names(policy.processor, answers, [(prompt.record.category, *prompt.others)])
    if not name_BN.shape[1]:
        return prediction, None
    scores = policy.score([prompt], answers.ids_BT, answers.mask_BT, name_BN.to(policy.device), values=False)
    return prediction, prompt.view.heat(scores.attention_BNP[0].mean(0).float().cpu().numpy())
