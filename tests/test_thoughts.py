"""What a model writes before its answer is no answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umed.thoughts import end_thought, find_thoughts, hide_thoughts, is_tag, without_thoughts

PAIRS = (
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<THINK>", "</Think>"), ("< think >", "</ think >"),
    ('<think time="3">', "<\\/think>"), ("<think>", "<think/>"), ("<thought>", "</thought>"), ("<reason>", "</reason>"),
    ("<reasoning>", "</reasoning>"), ("<reflection>", "</reflection>"), ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"), ("<longcat_think>", "</longcat_think>"), ("<thought_process>", "</thought_process>"),
    ("<rationale>", "</rationale>"), ("<|think|>", "<|/think|>"), ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("◁think▷", "◁/think▷"), ("[THINK]", "[/THINK]"), ("<unused94>thought\n", "<unused95>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
)  # fmt: skip
plain = st.text(st.characters(exclude_characters="<>[]◁▷\"'`\u2018\u2019\u201c\u201d"))


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


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<think>hm</think><answer>Yes</answer>", "Yes"),
        ("</think>\n<answer> Yes", "Yes"),  # the closing tag was the stop sequence
        ("Yes</answer>", "Yes"),  # the chat template began with the other one
        ("<think>a</think><answer><|begin_of_box|>B<|end_of_box|></answer>", "B"),
        ("<|begin_of_solution|>Yes<|end_of_solution|>", "Yes"),
        ("<answer></answer>", ""),
        ("Yes</s>", "Yes"),
        ("<think>hm</think>Yes<|im_end|>\n<|endoftext|>", "Yes"),
        ("<think>a</think>The answer: <answer>B</answer>", "The answer: <answer>B</answer>"),  # for the rules to read
        ("<answer>A</answer> or <answer>B</answer>", "<answer>A</answer> or <answer>B</answer>"),
        ("<think>I shall end with `</think>` and then say A.</think>B", "B"),
        ('<think>It is "B"</think>"B"', '"B"'),
        ('A page says "<think>" here.', 'A page says "<think>" here.'),
        ("I think that the <reason unclear> holds", "I think that the <reason unclear> holds"),
        ("x < think y > z, [1, 2]", "x < think y > z, [1, 2]"),
        ("<think>A <answer>B</answer>", None),
        ("## Thinking\n\nIt may be A.\n\n## Final Response\n\nB", "B"),
        ("## Thinking\n\nIt may be A.", None),
        ("## Thinking:\n\nIt may be A.", None),
        ("# Thinking\nIt may be A.\n\n## Final Response: B", "B"),
        ("## Thinking\n\nIt may be A.\n\n## Final Response\n\n", ""),
        (
            "<SUMMARY>I look.</SUMMARY>\n<CAPTION>A.</CAPTION>\n<REASONING>A</REASONING>\n<CONCLUSION>B</CONCLUSION>",
            "B",
        ),
        ("<SUMMARY>I look.</SUMMARY>\n<CAPTION>It is A", None),
        ("<summary>B</summary>", "<summary>B</summary>"),
        ("A mass. <conclusion>B</conclusion>", "A mass. <conclusion>B</conclusion>"),
        ("A mass.\n## Findings\nIt is A.", "A mass.\n## Findings\nIt is A."),
    ],
)
def test_tags_around_the_answer_are_no_part_of_it_and_quoted_tags_are(reply: str, answer: str | None) -> None:
    assert without_thoughts(reply) == answer


PIECES = [*(tag for pair in PAIRS for tag in pair), "<answer>", "</answer>", "a", " ", "<", "{}", '"', "`"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_hidden_characters_keep_their_places(text: str) -> None:
    hidden, answer = hide_thoughts(text), without_thoughts(text)
    assert len(hidden) == len(text) and all(h in (t, " ") for h, t in zip(hidden, text, strict=True))
    assert hidden.replace(" ", "") == (answer or "").replace(" ", "")
    assert all(not hidden[a:b].strip() for a, b in find_thoughts(text))
    if answer is None:
        assert not hidden.strip() and find_thoughts(text) == [(0, len(text))]


@given(st.lists(st.sampled_from(["<think>", "</think>", "<unused94>", "<unused95>", "a", " ", "<", "{}"])))
def test_no_tag_remains(parts: list[str]) -> None:
    answer = without_thoughts("".join(parts))
    assert answer is None or not any(tag in answer for pair in PAIRS for tag in pair)


def test_a_thought_that_the_template_began_is_ended() -> None:
    assert end_thought("<|im_start|>assistant\n<think>\n") == "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    for prompt in ("assistant\n", "assistant\n<think>\n\n</think>\n\n", "Is <think> a tag?\nassistant\n"):
        assert end_thought(prompt) == prompt


def test_tokens_that_are_tags() -> None:
    assert all(map(is_tag, ("<think>", "</think>", "<unused95>", "<|channel>", "<channel|>", "[/THINK]")))
    assert not any(map(is_tag, ("<|im_end|>", "<bos>", "<box>", "think", "<unused9>", "")))


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "<", "< ", "<think a=", " ", "◁ ", "<answer>", "</answer> ", "[", "'<think>"]
)
def test_long_texts_are_read_soon(piece: str) -> None:
    started = time.process_time()
    for text in (piece * 15_000, f"<think a={' ' * 30_000}", f"<{' ' * 30_000}answer"):
        without_thoughts(text)
        hide_thoughts(text)
    assert time.process_time() - started < 2
