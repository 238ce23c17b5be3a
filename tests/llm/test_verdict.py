"""A verdict counts only where the final answer of a reply stands; objects are found in prose."""

import json
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umed.llm.verdict import NoVerdict, find_objects, read_verdict

MINE = '{"reason": "same", "score": 0.8}'
DRAFT = '{"reason": "hm", "score": 0.1}'


@pytest.mark.parametrize(
    "reply",
    [
        MINE, f" \n{MINE}\n", f"Sure! {MINE}", f"My verdict is {MINE}.", f"**Verdict:** {MINE}", f"Score = `{MINE}`",
        f"```json\n{MINE}\n```", f"Here it is in JSON format:\n\n```\n{MINE}\n```\n", f"评分\uff1a{MINE}",
        f"<answer>{MINE}</answer>", f"<|channel|>final<|message|>{MINE}<|return|>",
        json.dumps(json.loads(MINE), indent=2), f"An example of care {{of sorts}}.\n\n{MINE}",
        f"The format is {DRAFT}.\n\n{MINE}", f"The format:\n```json\n{DRAFT}\n```\nMy verdict:\n```json\n{MINE}\n```",
        f"> {DRAFT}\n\nThat is wrong.\n{MINE}", f"{DRAFT}\nWait, they agree.\n{MINE}", f"{MINE}\n{MINE}",
    ],
)  # fmt: skip
def test_the_final_answer(reply: str) -> None:
    assert read_verdict(reply, "score") == {"reason": "same", "score": 0.8}


QUOTED, UNFINISHED, NONE = "a verdict that is quoted", "a verdict that does not end", "no verdict"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        *((reply, NONE) for reply in ("", "0.8", "80%", "0.8/1", "Score: 0.8", "[0.8]", "{'score': 0.8}", '"score"')),
        *((reply, NONE) for reply in ('{"reason": "fine"}', f'{{"a": {MINE}}}', '{"score": 0.8,}', json.dumps(MINE))),
        ('{"score": 0.1, "score": 0.9}', NONE),
        *((reply, NONE) for reply in ('{"reason": "x", "score": 0.', f'{{"a": {MINE}', f"{{'a': {MINE}, 'b")),
        ('{"a":' * 3000, NONE),
        *((f"{MINE}{more}", UNFINISHED) for more in ("]", '"', "\nI hope", " is all.", "\n```\nNo.", ' {"a": 1}')),
        *((f"{lead} {MINE}", QUOTED) for lead in ("e.g.", "I reply like", "The format is", ">", '"', "such as:", "- ")),
        *((f"{lead}\n{MINE}", QUOTED) for lead in ("For example:", "The reply format:", "[", f"[{DRAFT},")),
        (f"<example>{MINE}</example>", QUOTED),
        *((f"{lead}\n{MINE}", QUOTED) for lead in ("Expected output:", "Sample reply:", "The candidate wrote:")),
        *((f"{lead} {MINE}", QUOTED) for lead in ("Ignore this:", "This is not my verdict:")),
        *((f"{lead}\uff1a{MINE}", QUOTED) for lead in ("例如", "格式如下")),
        *((f"<{tag}>{MINE}</{tag}>", QUOTED) for tag in ("draft", "quote", "candidate_answer")),
        (f"{DRAFT} {MINE}", "several verdicts"),
        (f"```json\n{DRAFT}\n```\n\n```json\n{MINE}\n```", "several verdicts"),
        *((json.dumps({"reason": r, "score": 0.5}), "the format") for r in ("...", "<one sentence>")),
    ],
)  # fmt: skip
def test_what_is_none(reply: str, why: str) -> None:
    with pytest.raises(NoVerdict, match=f"^{why}"):
        read_verdict(reply, "score")


@settings(max_examples=50)
@given(st.floats(0, 1), st.text(), st.text("Sure:x{}`\n "), st.text("Done.}`{\n "))
def test_any_reply_gives_its_last_object_or_none(score: float, reason: str, before: str, after: str) -> None:
    value = {"reason": reason, "score": score}
    try:
        assert read_verdict(before + json.dumps(value) + after, "score") == value and not after.strip("`. \n")
    except NoVerdict:
        assert before.strip() or after.strip() or not reason.strip(" .<")


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text(), max_size=3), max_size=4), st.text("a`: }\n"))
def test_objects_are_found_in_prose(objects: list[dict[str, Any]], prose: str) -> None:
    assert find_objects(prose + prose.join(json.dumps(o) + " " for o in objects) + prose) == objects


@pytest.mark.parametrize("filler", ["`", "<", "<a", "\n", "* ", "e.g. ", "the ", "```json\n"])
def test_long_replies_are_read_soon(filler: str) -> None:
    started = time.process_time()
    for reply in (filler * 50_000 + MINE, MINE + filler * 50_000 + "x", MINE + filler * 50_000 + "x" + MINE):
        with suppress(NoVerdict):
            read_verdict(reply, "score")
    assert time.process_time() - started < 1


@pytest.mark.parametrize("garbage", ['{"a":', "{"])
def test_garbage_is_given_up_after_some_attempts(garbage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts, decode = [], json.JSONDecoder.raw_decode
    monkeypatch.setattr("json.JSONDecoder.raw_decode", lambda *a: attempts.append(1) or decode(*a))
    assert find_objects(garbage * 50_000) == [] and len(attempts) == 20
