"""The key is taken out of what an endpoint says, however it is spelled, and refused settings are found there."""

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import SECRET

from umed.errors import InputError
from umed.llm.failures import find_field, read_key, without_key

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


UNSUPPORTED = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens'."
SENT = ("max_completion_tokens", "max_tokens", "temperature", "top_p", "seed", "logprobs", "messages")


@pytest.mark.parametrize(
    ("status", "error", "field"),
    [
        (400, {"message": "'temperature' takes no other value than its default here"}, "temperature"),
        (400, {"message": "x" * 400 + " Unsupported parameter: top_p"}, "top_p"),
        (400, {"message": UNSUPPORTED, "code": "unsupported_parameter"}, "max_tokens"),
        (400, {"message": "temperature and seed are given", "param": "seed"}, "seed"),
        (422, [{"loc": ["body", "logprobs"], "msg": "extra field", "input": {"temperature": 0}}], "logprobs"),
        (404, {"message": "No endpoints found that support seed"}, "seed"),
        (500, {"message": "UnsupportedParamsError: no temperature=0.0 here"}, "temperature"),
        (400, "temperature: must be 1", "temperature"),
        (400, {"message": "temperatures"}, ""),
        (400, {"message": "the model reads no messages"}, ""),
        (429, {"message": "too busy for so many max_tokens"}, ""),
    ],
)
def test_the_refused_field_is_the_one_that_the_words_name_first(status: int, error: Any, field: str) -> None:
    assert find_field(status, error, SENT) == field


@pytest.mark.parametrize("key", ["sk-one\nsk-two", "sk-ü"])
def test_a_key_that_is_none_is_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="^judge: .*OPENAI_API_KEY holds a character") as error:
        read_key("judge")
    assert "sk-" not in str(error.value)
