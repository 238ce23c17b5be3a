"""The one exception that means: your input, not our defect."""


class InputError(Exception):
    """Wrong input, told in ONE plain line: what, where, what to do. `run.py` prints it and exits with 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))
