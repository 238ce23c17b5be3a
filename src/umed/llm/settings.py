"""`check_settings`: the arguments of a constructor against their annotations."""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, ParamSpec

from pydantic import ConfigDict, Field, ValidationError, validate_call

from umed.errors import InputError

P = ParamSpec("P")
Text = Annotated[str, Field(pattern=r"\S")]


def check_settings(owner: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorate `__init__`: the first argument that does not fit is an InputError that names the setting of `owner`."""

    def decorate(init: Callable[P, None]) -> Callable[P, None]:
        checked = validate_call(config=ConfigDict(strict=True, allow_inf_nan=False))(init)

        @wraps(init)
        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                checked(*args, **kwargs)
            except ValidationError as error:
                raise InputError(_describe(owner, error.errors()[0])) from None

        return call

    return decorate


def _describe(owner: str, error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"] if str(part).isidentifier())  # without the parts of a union
    value = "" if error["type"].startswith("missing") else f"={'null' if error['input'] is None else error['input']}"
    return f"{owner}.{name}{value}: {error['msg'][0].lower()}{error['msg'][1:]}"
