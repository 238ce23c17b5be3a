"""Compute of training in token passes, so that methods can be given the same: reading a token costs 1, so does decoding
it, and a backward pass 2. The vision tower, which reads each picture once for both, is left out.
"""

import math

from umed.errors import InputError

FORWARD, BACKWARD, DECODE = 1, 2, 1


def tuning_passes(prompt: float, answer: float) -> float:
    """Of one record in stage 1.

    Args:
        prompt, answer: tokens, the picture's included.
    """
    return (FORWARD + BACKWARD) * (prompt + answer)


def rewarding_passes(
    prompt: float, answer: float, num_candidates: int, num_epochs: int, updates: int, reference: bool = False
) -> float:
    """Of one query in stage 2: its answers are sampled, scored, and learned from in each epoch.

    Args:
        prompt, answer: tokens; the prompt is read once for all its answers.
        updates: a batch takes; with a single one, its gradients are those of the scores.
        reference: whether a reference policy scores the answers too.
    """
    tokens = prompt + num_candidates * answer
    sampled = FORWARD * prompt + DECODE * num_candidates * answer
    learned = num_epochs * (FORWARD + BACKWARD) * tokens + FORWARD * tokens
    sampled += reference * FORWARD * tokens
    return sampled + (learned if updates > 1 else (FORWARD + BACKWARD) * tokens)


def steps_of_equal_compute(passes: float, prompt: float, answer: float, batch_size: int) -> int:
    """Steps of stage 1 that take at least so many token passes."""
    return math.ceil(passes / (batch_size * tuning_passes(prompt, answer)))


def planned_batches(records: int, batch_size: int, epochs: float | None, steps: int | None) -> int:
    """How many batches the whole training takes for this many records.

    Raises:
        InputError: both or neither of `epochs` and `steps` are given.
    """
    if (epochs is None) == (steps is None):
        raise InputError(f"method.epochs={epochs}, method.steps={steps}: give one of the two and set the other to null")
    return steps or math.ceil((epochs or 0) * records / batch_size)
