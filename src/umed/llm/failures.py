"""`NoAnswer`: why a request brought no answer, in words without the key, which is never kept and never shown."""

import json
import os
import re
from collections.abc import Iterable
from enum import Enum, auto
from typing import Any

import openai

from umed.errors import InputError

KEY = "OPENAI_API_KEY"
SHORTEST = 16  # characters; a shorter key (`local`, `test`) is a word, not a secret
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # the last one may be cut off
_REPEATED = frozenset([408, 409, 429])  # and 5xx
_NO_SETTING = frozenset([401, 403, 429])  # these are about the key or the quota
_CONTENT = frozenset(["model", "messages", "input", "text", "response_format"])  # no settings of the user
_REPEATS = frozenset(["input", "body", "request"])  # fields of an error


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
    """What an answer with such a status means."""
    reason, fault = name_status(error.status_code, error.body), Fault.REQUEST
    if error.code == "insufficient_quota":
        reason, fault = f"{reason} (insufficient_quota)", Fault.REFUSED
    elif error.status_code in (401, 403, 404):
        fault = Fault.REFUSED
    elif error.status_code in _REPEATED or error.status_code >= 500:
        fault = Fault.FAILING
    return NoAnswer(reason, fault, error.status_code)


def name_status(status: int, error: Any) -> str:
    """The status; the server's words only where they help and cannot quote a part of the key (401 does)."""
    words = quote(error) if status in (400, 404, 413, 422) and error and not isinstance(error, str) else ""
    return f"status {status}: {words}" if words else f"status {status}"


def quote(error: Any) -> str:
    """The endpoint's words about an error, in one short line, "" where they quote the beginning of the key."""
    words, key = " ".join(without_key(json.dumps(error, ensure_ascii=False)).split()), os.environ.get(KEY, "").strip()
    return "" if len(key) >= SHORTEST and key[:6] in words else words[:200]


def find_field(status: int | None, error: Any, fields: Iterable[str]) -> str:
    """The field of a refused request that the endpoint's words about it name first, "" for none."""
    if status in _NO_SETTING:
        return ""
    words = " ".join(_find_texts(error))
    places = {
        place.start(): name
        for name in set(fields) - _CONTENT
        if (place := re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words))
    }
    return places[min(places)] if places else ""


def _find_texts(error: Any) -> list[str]:
    """The texts in an error, those that name a field first; what it repeats of the request says nothing."""
    if isinstance(error, dict):
        names = sorted(error.keys() - _REPEATS, key=lambda name: (name not in ("param", "loc"), name))
        return [text for name in names for text in _find_texts(error[name])]
    if isinstance(error, list):
        return [text for one in error for text in _find_texts(one)]
    return [error] if isinstance(error, str) else []
