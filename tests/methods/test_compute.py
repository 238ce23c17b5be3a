"""Token passes, counted token by token."""

import pytest

from umed.methods.compute import rewarding_passes, steps_of_equal_compute, tuning_passes


def test_tuning_reads_each_token_and_goes_back() -> None:
    assert tuning_passes(10, 4) == sum(1 + 2 for _ in range(14))


@pytest.mark.parametrize(
    ("epochs", "updates", "expected"),
    [
        # sampled: 10 prompt tokens read, 3 x 4 decoded; scored with gradients: 22 tokens forward, 2 x back
        (1, 1, 22 + 22 + 44),
        # scored once without, then one epoch in two updates
        (1, 2, 22 + 22 + 66),
        (2, 2, 22 + 22 + 2 * 66),
    ],
)
def test_rewarding_samples_scores_and_learns(epochs: int, updates: int, expected: int) -> None:
    assert rewarding_passes(10, 4, 3, epochs, updates) == expected


def test_a_reference_scores_the_answers_once_more() -> None:
    assert rewarding_passes(10, 4, 3, 1, 1, reference=True) == rewarding_passes(10, 4, 3, 1, 1) + 22


def test_the_control_has_at_least_the_compute_and_less_than_a_step_more() -> None:
    passes = 7 * 16 * rewarding_passes(80, 23, 16, 1, 1)
    steps = steps_of_equal_compute(passes, 80, 23, 32)
    one = 32 * tuning_passes(80, 23)
    assert passes <= steps * one < passes + one
