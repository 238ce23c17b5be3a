"""The key of an endpoint: read from the environment when it is needed, never kept and never shown."""

import json
import os
import re

from umed.errors import InputError

KEY = "OPENAI_API_KEY"
SHORTEST = 16  # characters; a shorter key (`local`, `test`) is a word, not a secret
_JSON_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # the last one may be cut off


def read_key(owner: str) -> str:
    """The key, "" where there is none.

    `owner`: the config group that needs it, for the message. Raises InputError: it holds a character that no key has.
    """
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
