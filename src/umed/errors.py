"""The one exception that means: your input, not our defect."""


class InputError(Exception):
    """Wrong input, told in ONE plain line: what, where, what to do. `run.py` prints it and exits with 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def chosen(option: str, value: object, *known: str) -> str:
    """The value of an option that has names.

    Raises:
        InputError: another name.
    """
    if value not in known:
        raise InputError(f"{option}={value}: choose {', '.join(known[:-1])} or {known[-1]}")
    return str(value)


def positive(option: str, value: int | None) -> None:
    """Refuse a count below 1; None = not given."""
    if value is not None and type(value) is not int:
        raise InputError(f"{option}={value}: a whole number is needed")
    if value is not None and value < 1:
        raise InputError(f"{option}={value}: at least 1 is needed")
