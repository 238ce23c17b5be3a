"""`NoAnswer`: why a request brought no answer, in words without the key, which is never kept and never shown."""

import json
import os
import re
from enum import Enum, auto
from typing import Any

import openai

from umed.errors import InputError

KEY = "OPENAI_API_KEY"
SHORTEST = 16  # characters; a shorter key (`local`, `test`) is a word, not a secret
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # the last one may be cut off
_REPEATED = frozenset([408, 409, 429])  # and 5xx
_CONTENT = frozenset(["model", "messages", "input", "text", "store", "response_format"])  # no settings of the user


def read_key(owner: str) -> str:
    """The key, "" where there is none. Raises InputError, naming `owner`: it holds a character that no key has."""
    key = os.environ.get(KEY, "").strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise InputError(f"{owner}: the environment variable {KEY} holds a character that no key has: set it anew")
    return key


def without_key(text: str) -> str:
    """A text of the endpoint without the key, which it may quote, also inside JSON strings and strings in those."""
    key = os.environ.get(KEY, "").strip()
    if len(key) < SHORTEST:
        return text

    def clean(string: re.Match[str]) -> str:
        if "\\" not in string[0]:
            return string[0]
        try:
            value = json.loads(string[0], strict=False)
        except ValueError:
            return string[0]
        cleaned = without_key(value)
        return string[0] if cleaned == value else json.dumps(cleaned)

    return re.sub(rf"(?<![\w-]){re.escape(key)}(?![\w-])", KEY, _JSON_STRING.sub(clean, text), flags=re.ASCII)


class Fault(Enum):
    """What is to blame for a request without an answer."""

    REFUSED = auto()  # 401, 403, 404 or no quota: no request will be answered
    SILENT = auto()  # no connection, or a time-out
    FAILING = auto()  # 408, 409, 429, 5xx, or a reply that cannot be read
    REQUEST = auto()  # any other status: this request is not taken


class NoAnswer(Exception):
    """A request that brought no answer; `field`: the field of the request that the endpoint names as the reason."""

    def __init__(self, reason: str, fault: Fault = Fault.REQUEST, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.fault, self.status, self.field = reason, fault, status, ""

    @property
    def is_outage(self) -> bool:
        """Whether other requests would fail too."""
        return self.fault is not Fault.REQUEST


def read_failure(error: openai.APIStatusError) -> NoAnswer:
    """The status; the server's words only where they help and cannot quote a part of the key (401 does)."""
    reason, fault = f"status {error.status_code}", Fault.REQUEST
    if error.code == "insufficient_quota":
        reason, fault = f"{reason} (insufficient_quota)", Fault.REFUSED
    elif error.status_code in (401, 403, 404):
        fault = Fault.REFUSED
    elif error.status_code in _REPEATED or error.status_code >= 500:
        fault = Fault.FAILING
    if error.body and not isinstance(error.body, str) and error.status_code in (400, 404, 413, 422):
        reason += f": {_words(error)[:200]}"
    return NoAnswer(reason, fault, error.status_code)


def _words(error: openai.APIStatusError) -> str:
    return " ".join(without_key(json.dumps(error.body, ensure_ascii=False)).split())


def find_field(error: NoAnswer, request: dict[str, Any]) -> str:
    """The setting in a refused request that the endpoint's words name, "" for none."""
    if error.fault is not Fault.REQUEST or not isinstance(error.__cause__, openai.APIStatusError):
        return ""
    words = _words(error.__cause__)
    return next((n for n in request if n not in _CONTENT and re.search(rf"(?<!\w){re.escape(n)}(?!\w)", words)), "")
