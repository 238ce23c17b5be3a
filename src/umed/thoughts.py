"""`without_thoughts`: the answer in a reply of a model that writes its reasoning first."""

import re

_TAG = re.compile(r"<think(?:ing)?>|<unused94>|(?P<end></think(?:ing)?>|<unused95>)", re.IGNORECASE)


def without_thoughts(text: str) -> str | None:
    """The text without `<think>...</think>`, `<thinking>...</thinking>` and MedGemma's `<unused94>...<unused95>`.

    A closing tag without an opening one ends a thought that the chat template began: everything before it is thought.

    Returns:
        A text without tags as it is; otherwise the answer without surrounding white space, "" where there is none;
        None where the reply ends inside a thought.
    """
    answer, start, is_thought = "", 0, False
    for tag in _TAG.finditer(text):
        if tag["end"] is None:
            answer += "" if is_thought else text[start : tag.start()]
            is_thought = True
        else:
            answer = answer if is_thought else ""
            start, is_thought = tag.end(), False
    if is_thought:
        return None
    return (answer + text[start:]).strip() if start else text
