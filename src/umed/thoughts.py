"""The answer in a reply of a model that writes its reasoning first; no other file knows the tags of thoughts.

A tag that is quoted, in quotation marks or backticks, is a part of the text.
"""

import re
from collections.abc import Sequence

Span = tuple[int, int]

_NAME = (
    r"(?:(?:seed:|mm:|longcat_)?think(?:ing)?|thoughts?(?:_process)?|reason(?:ing)?(?:_content)?|reflection|rationale"
    r"|scratchpad)"
)
_OPENED = (
    rf"<\s*{_NAME}(?:\s+\w+=[^<>]*|\s*)>",  # Qwen, DeepSeek, InternVL, GLM, Seed
    rf"<\|(?:(?:begin|start)_(?:of_)?)?{_NAME}\|>",
    r"<\|inner_prefix\|>",  # Apertus
    r"◁\s*think\s*▷",  # Kimi
    r"\[THINK\]",  # Mistral
    r"<unused94>",  # MedGemma
    r"<\|channel>",  # Gemma 4
    r"<\|channel\|>(?:analysis|commentary)",  # gpt-oss
    r"\A\s*#+ *thinking[ :*]*(?=\n)",  # HuatuoGPT
    r"\A\s*<summary>(?=[^<]*</summary>\s*<caption>)",  # LLaVA-CoT
)
_CLOSED = (
    rf"<\s*[/\\]+\s*{_NAME}\s*>",
    rf"<\s*{_NAME}\s*/\s*>",
    rf"<\|(?:/|end_(?:of_)?){_NAME}\|>",
    r"<\|inner_suffix\|>",
    r"◁\s*/\s*think\s*▷",
    r"\[/THINK\]",
    r"<unused95>",
    r"<channel\|>",
    r"<\|channel\|>final(?:<\|message\|>)?",
    r"(?:\A|\n)[ \t]*#+ *final response\b[ :*]*",
    r"</reasoning>\s*<conclusion>",
)
_MARKS = "[\"'`\u2018\u2019\u201c\u201d]"
_QUOTED = rf"(?<=(?<![^\s(]){_MARKS})(?:{'|'.join((*_OPENED, *_CLOSED))})(?={_MARKS}(?!\w))"
_TAG = re.compile(rf"{_QUOTED}|(?P<opened>{'|'.join(_OPENED)})|(?P<closed>{'|'.join(_CLOSED)})", re.IGNORECASE)
_AROUND = re.compile(  # what models write around an answer
    r"<\s*(?:/\s*)?(?:final[ _])?(?:answer|response|solution|conclusion)\s*>"
    r"|<\|(?:begin|end)_of_(?:box|answer|solution)\|>"
    r"|</s>|<\|(?:im_end|end|endoftext|eot_id)\|>|<end_of_turn>",  # of programs that keep special tokens
    re.IGNORECASE,
)
_BEGUN = re.compile(r"<(think(?:ing)?)>\s*\Z")


def without_thoughts(text: str) -> str | None:
    """The answer: the text without thoughts, and without answer tags where nothing stands outside of them.

    A closing tag without an opening one ends a thought that the chat template began: everything before it is thought.

    Returns:
        A text without tags as it is; otherwise the answer without surrounding white space, "" where there is none;
        None where the reply ends inside a thought.
    """
    spans, is_cut_off = _find(text)
    if is_cut_off:
        return None
    spans = sorted([*spans, *_answer_tags(_replace(text, spans, " "))])
    return _replace(text, spans, "").strip() if spans else text


def hide_thoughts(text: str) -> str:
    """The text with a blank for each character that is not of the answer, so that places in it stay the same."""
    hidden = _replace(text, find_thoughts(text), " ")
    return _replace(hidden, _answer_tags(hidden), " ")


def find_thoughts(text: str) -> list[Span]:
    """Spans of the thoughts with their tags, in order; the whole text where it ends inside one."""
    return _find(text)[0]


def is_tag(token: str) -> bool:
    """Whether a token of a vocabulary begins or ends a thought."""
    return bool(_TAG.fullmatch(token))


def end_thought(prompt: str) -> str:
    """A prompt whose template leaves the model inside a thought, with that thought ended; any other as it is."""
    begun = _BEGUN.search(prompt)
    return f"{prompt}\n</{begun[1]}>\n\n" if begun else prompt


def _find(text: str) -> tuple[list[Span], bool]:
    """Spans of the thoughts, and whether the text ends inside one."""
    spans: list[Span] = []
    begin = None
    for tag in _TAG.finditer(text):
        if tag["opened"] and begin is None:
            begin = tag.start()
        elif tag["closed"]:
            if begin is None:  # the chat template began it
                spans, begin = [], 0
            spans.append((begin, tag.end()))
            begin = None
    return (spans, False) if begin is None else ([(0, len(text))], True)


def _answer_tags(hidden: str) -> list[Span]:
    """Spans of answer tags around all that is left; none where text stands outside of them too."""
    pieces = [piece for piece in _AROUND.split(hidden) if piece.strip()]
    return [tag.span() for tag in _AROUND.finditer(hidden)] if len(pieces) < 2 else []


def _replace(text: str, spans: Sequence[Span], letter: str) -> str:
    """The text with each character of the spans replaced."""
    parts, end = [], 0
    for begin, stop in spans:
        parts += [text[end:begin], letter * (stop - begin)]
        end = stop
    return "".join([*parts, text[end:]])
