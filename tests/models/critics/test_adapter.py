"""The adapter critic refuses a policy that its loss would train."""

from collections.abc import Callable

import pytest

from umed.errors import InputError
from umed.models.critics.adapter import AdapterCritic
from umed.models.policy import Policy


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "critic=adapter needs a policy with an adapter"),
        ({"adapter": {"r": 4, "target_modules": "all-linear"}}, "an adapter in its language model and nothing else"),
        ({"adapter": {"r": 4}, "gradient_checkpointing": True}, "model.gradient_checkpointing=false"),
    ],
    ids=["whole model", "tower", "checkpointing"],
)
def test_it_refuses(policy: Callable[..., Policy], options: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        policy(critic=AdapterCritic, **options)
