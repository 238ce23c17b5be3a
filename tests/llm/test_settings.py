"""Arguments that do not fit their annotations end with one line that names the setting."""

import re
from typing import Any

import pytest
from pydantic import PositiveInt

from umed.errors import InputError
from umed.llm.endpoint import Text, check_settings


class Judge:
    @check_settings("judge")
    def __init__(self, model: Text, *, concurrency: PositiveInt = 8, timeout: float = 30.0) -> None:
        self.values = (model, concurrency, timeout)


def test_what_fits_is_passed_on() -> None:
    assert Judge("m", concurrency=2).values == ("m", 2, 30.0) and Judge(model="m", timeout=3).values == ("m", 8, 3)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"concurrency": 0}, "judge.concurrency=0: input should be greater than 0"),
        ({"concurrency": "two"}, "judge.concurrency=two: input should be a valid integer"),
        ({"concurrency": True}, "judge.concurrency=True: input should be a valid integer"),
        ({"timeout": None}, "judge.timeout=null: input should be a valid number"),
        ({"timeout": float("nan")}, "judge.timeout=nan: input should be a finite number"),
        ({"model": " "}, "judge.model= : "),
        ({"speed": 1}, "judge.speed=1: unexpected keyword argument"),
        ({"model": ...}, "judge.model: missing required argument"),
    ],
)
def test_what_does_not_fit_is_one_line(settings: dict[str, Any], line: str) -> None:
    arguments = {name: value for name, value in {"model": "m", **settings}.items() if value is not ...}
    with pytest.raises(InputError, match=re.escape(line)):
        Judge(**arguments)
