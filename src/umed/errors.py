"""The one exception that means: your input, not our defect."""

import math
from typing import Any


class InputError(Exception):
    """Wrong input, told in ONE plain line: what, where, what to do. `run.py` prints it and exits with 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def check_choice(option: str, value: object, *known: str) -> str:
    """The value of an option that has names.

    Raises:
        InputError: another name.
    """
    if value not in known:
        raise InputError(f"{option}={value}: choose {', '.join(known[:-1])} or {known[-1]}")
    return str(value)


def check_positive(option: str, value: int | None) -> None:
    """Refuse a count below 1; None = not given."""
    if value is not None and type(value) is not int:
        raise InputError(f"{option}={value}: a whole number is needed")
    if value is not None and value < 1:
        raise InputError(f"{option}={value}: at least 1 is needed")


def check_number(option: str, value: Any, *, above: float | None = None, at_least: float | None = None) -> None:
    """Refuse what is no finite number, or one that is too small; None = not given."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{option}={value}: a number is needed")
    if (above is not None and value <= above) or (at_least is not None and value < at_least):
        raise InputError(
            f"{option}={value}: {f'more than {above:g}' if above is not None else f'at least {at_least:g}'} is needed"
        )
