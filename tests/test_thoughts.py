"""What a model writes before its answer is no answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umed.thoughts import without_thoughts

PAIRS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<unused94>", "<unused95>"), ("<THINK>", "</Think>"))
plain = st.text(st.characters(exclude_characters="<>"))


@given(plain, plain, plain, st.sampled_from(PAIRS))
def test_the_answer_is_what_stands_outside_of_thoughts(before: str, thought: str, after: str, tags: tuple) -> None:
    opened, closed = tags
    assert without_thoughts(before) == before, "a text without thoughts stays as it is"
    assert without_thoughts(f"{before}{opened}{thought}{closed}{after}") == (before + after).strip()
    assert without_thoughts(f"{before}{closed}{after}") == after.strip(), "the chat template opened the thought"
    assert without_thoughts(f"{before}{opened}{thought}") is None, "cut off inside the thought"
    assert without_thoughts(f"{before}{closed}{after}{opened}{thought}") is None
    twice = f"{opened}{thought}{closed}{before}{opened}{thought}{closed}{after}"
    assert without_thoughts(twice) == (before + after).strip()
    assert without_thoughts(f"{opened}{opened}{thought}{closed}{before}{closed}{after}") == after.strip(), "nested"


@given(st.lists(st.sampled_from(["<think>", "</think>", "<unused94>", "<unused95>", "a", " ", "<", "{}"])))
def test_no_tag_remains(parts: list[str]) -> None:
    answer = without_thoughts("".join(parts))
    assert answer is None or not any(tag in answer for pair in PAIRS for tag in pair)


@pytest.mark.parametrize("tag", ["<think>", "</think>", "<"])
def test_long_texts_are_read_soon(tag: str) -> None:
    started = time.process_time()
    without_thoughts(tag * 50_000)
    assert time.process_time() - started < 2
