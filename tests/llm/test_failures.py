"""The key is taken out of what an endpoint says, however it is spelled."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import SECRET

from umed.errors import InputError
from umed.llm.failures import read_key, without_key

SPELLED = 'sk-"quoted"-never-\\-show-me'


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([SECRET, SPELLED]), st.text(" \n\\ab"), st.text(" \n\\ab"), st.integers(0, 3))
def test_the_whole_key_is_taken_out_of_strings_in_strings(key: str, before: str, after: str, depth: int) -> None:
    before, after = f"{before} ", f" {after}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", key)
        text = before + key + after
        for _ in range(depth):
            text = json.dumps({"content": text})
        cleaned = without_key(text)
        for _ in range(depth):
            cleaned = json.loads(cleaned)["content"]
        assert cleaned == f"{before}OPENAI_API_KEY{after}" or depth == 0
        assert key not in cleaned
        longer = json.dumps({"content": f"{key}-and-more x{key}"})
        assert without_key(longer) == longer, "a longer word is not the key"


@pytest.mark.parametrize("key", ["", "x", "local", "test"])
def test_a_word_for_a_key_leaves_texts_alone(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert without_key("The local test x.") == "The local test x." and read_key("judge") == key


def test_long_texts_are_cleaned_soon() -> None:
    started = time.process_time()
    for text in ('"' + '\\"' * 100_000, '"' * 200_000, "[" * 200_000):
        assert without_key(text) == text
    assert time.process_time() - started < 2


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-ü"])
def test_a_key_that_is_none_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="^judge: .*OPENAI_API_KEY holds a character") as error:
        read_key("judge")
    assert "sk-" not in str(error.value)
