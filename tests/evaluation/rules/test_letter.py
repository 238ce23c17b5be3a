"""The letter that an answer states: each dress in which one is read, and what is no letter."""

# ruff: noqa: RUF001
import pytest

from umed.evaluation.rules.letter import find_letter

TEXTS = ("Diffuse uptake", "Focal uptake", "No uptake", "Cannot determine")
LIST = "A: Diffuse uptake\nB: Focal uptake\nC: No uptake\nD: Cannot determine"

ALONE = [
    "B", "b", "B.", "b.", "B:", "B,", "B)", "B!", "(B)", "(B).", "[B]", "{B}", "<B>", "\u24b7", "\U0001d401",
    "\ufeffB", "Ｂ", "（Ｂ）", "【B】", "「B」", "B。", "B、", "B！", "Ｂ．", "'B'", "‘B’", '"B"', "“B”", "`B`",
    "*B*", "**B**", "_B_", "__B__", "### B", "> B", "- B", "<b>B</b>", "B</s>", "<|im_start|>B<|im_end|>",
    "<|begin_of_box|>B<|end_of_box|>", "<|box_start|>B<|box_end|>", "<answer>B</answer>", "<answer> (B) </answer>",
    "<answer>B", "B</answer>", "<final_answer>B</final_answer>", "$B$", r"\text{B}", r"\mathbf{B}", r"\boxed{B}",
    r"\boxed{\text{B}}", r"\boxed{\text{(B)}}", r"$\boxed{\mathrm{B}}$", r"\(\boxed{B}\)",
    r"\[ \boxed{\textbf{\text{B}}} \]", r"A \boxed{B}", r"\boxed{A} \boxed{B}", r"\boxed{B}\boxed{}",
]  # fmt: skip
LINES = [
    "B\n\nThe uptake is confined to one spot.", "**B**\n\nThe uptake is confined.", "(b)\n\nThe uptake is confined.",
    "b\n\nThe uptake is confined.", "The focus is single.\n\n(B)", "Answer:\nB", "### Answer\n\nB",
    "**Final Answer**\n\n**B**", "B\nB", "B\n\nSo the answer is B.", "C is wrong.\nB", "B\nA. is wrong",
    "Sure!\nB. Focal uptake",
]  # fmt: skip
FIRST = [
    "B. Because A is too large, and C is absent.", "B) text of choice", "B: Focal", "B：Focal uptake",
    "B.Focal uptake", "B、Focal uptake", "B - Focal uptake", "B – Focal uptake", "B, because it is focal.",
    "B because it is focal", "(B) Focal uptake\n(A) is wrong", "**B. Focal uptake**", "**B**: the uptake is focal.",
    "B: Focal uptake is right, not A: Diffuse uptake.",
]  # fmt: skip
TEXT = [
    "Focal uptake", "The focal uptake.", "B Focal uptake", "Focal uptake (B)", r"\boxed{\text{B: Focal uptake}}",
    "The answer is: **(B) Focal uptake**", "Answer: B. Focal uptake", "所以答案是B：Focal uptake",
]  # fmt: skip
STATED = [
    "The answer is B", "the answer is (b)", "the answer is b", "The answer is b.", 'The answer is "B"',
    "The answer is *B*", r"The final answer is $\boxed{B}$. I hope it is correct.", r"\boxed{\text{The answer is B}}",
    "Answer: B", "Answer - B", "Answer = B", "Answer -> B", "ANSWER:B", "Ans: B", "Answer: option B", "**Answer:** B",
    "**Answer: B**", "Final answer: (B)", "Choice: B", "Answer B", "Answer (B)", "The correct option is B.",
    "The correct answer is: B", "The best answer is option B.", "The letter is B", "The correct choice would be B",
    "The correct answer, therefore, is B.", "The correct answer would therefore be B.",
    "The answer to this question is B.", "The most appropriate option among the given choices is B.",
    "My answer is B because the uptake is focal.", "I choose B", "I would select option (B).", "I'd go with B.",
    "B is correct", "B is the correct answer.", "Option B is correct.", "(B) is the best answer",
    "B would be the correct choice", "Therefore, B.", "So it is B.", "It's B.", "I think it's B.", "Option B",
    "option b", "Option Ｂ", "This corresponds to option B.", "答案：B", "答案：Ｂ。", "答案：（B）", "答案是B。",
    "正确答案为 (B)。", "选B", "故选：B", "应选择B", "答案选B", "我选择B。", "选项B", "B选项", "B是正确答案", "B正确",
    "The answer is B. Note that option A is a common distractor.", "The answer is B, not A.",
    "The answer is B, since option A is wrong.", "Option A is wrong, so the answer is B.",
    "A is not correct. B is correct.", "A is wrong, so B", "not A but B", "选项A错误，选B",
    "I would not choose A. I choose B.", "Exclude option A; the answer is B", "不能选A，选B", "答案不是A，而是B",
    "B项正确", "Which one is it? The answer is B.",
    "**Answer: B) Focal uptake**\n\nExplanation: A) Diffuse uptake is wrong. C) is too.",
    "Put it in \\boxed{}: the answer is B", f"{LIST}\n\nAnswer: B", f"{LIST}\n\nB", f"{LIST}\n\nB: Focal uptake",
    f"The choices are {LIST}. The answer is B.".replace("\n", ", "),
    "A) diffuse, no\nB) focal, yes\nC) none\nAnswer: B",
]  # fmt: skip
ARTICLE_A = [
    "A", "a", "A.", "(a)", "A: mass", "Answer: A", "Answer: A because of", "(A) A mass is seen",
    "A\n\nA mass is seen.", "The answer is A, a mass.", "option A, that is, the answer is A", "The answer is a.",
]  # fmt: skip
NOTHING = [
    "", "E", "A?", "Because of it", "I do not know", "All of the above", LIST, "A: Diffuse uptake\nB: Focal uptake",
    # an article, or the beginning of a word or a name
    "a mass", "A mass is seen", "This is\na\nmass", "So a mass is seen", "Answer: A mass is seen in the left lung",
    "The answer is a mass.", "The answer is A mass in the lung.", "Answer A large mass", "The answer is a",
    "I would choose A mass", "A right effusion", "A diagnosis of cancer is the best answer",
    "the answer is Carcinoma", "the answer isB", "optionC", "b) Focal", "37 °C", "vitamin D",
    "The answer is B-cell lymphoma", "The answer is B cell lymphoma", "A B-cell lymphoma is seen",
    "Figure A shows it", "in panel (A)",
    # several
    "A or B", "A and B", "(A) or (B)", "A, B", "A/B", "A\nB", "A (or B)", "Both A and B", "Neither A nor B",
    "Between B and C", "It could be B or C", "C\n\nAt second look the margin is smooth.\n\nD",
    "(C)\n\nAt second look.\n\n(D)", "C.\n\nAt second look.\n\nD.", "B or C is correct", "B. Focal uptake\n\nC",
    "The answer is A or B.", "Answer: A, B", "The answer is A. The answer is B.",
    "The answer is B... Final answer: C", "the answer is A, not option B", "option A or option B", "option A, B",
    "The options are A, B, C and D.", "I choose A or B", "答案是A或B", r"\boxed{A or B}", "<answer>A or B</answer>",
    # denied
    "not A", "The answer is not A", "Option A is wrong", "B is not correct", "The answer is neither A nor B",
    "Answer: none of B", "答案不是A", "不选A", "选项A错误", r"\boxed{42}",
    "I would not choose B", "Don't choose option B", "I cannot select B", "不应选B", "不能选B", "排除B",
    "Exclude option B", "We can rule out option B.", "Option B is unlikely",
    # asked
    "Is the answer B?", "The answer is B?", "Would you choose B?",
]  # fmt: skip


@pytest.mark.parametrize(
    ("outputs", "letter"),
    [*((outputs, "B") for outputs in (ALONE, LINES, FIRST, TEXT, STATED)), (ARTICLE_A, "A"), (NOTHING, None)],
    ids=["alone", "on a line", "first", "with its text", "stated", "A", "none"],
)
def test_a_letter_is_read_in_any_dress_and_never_guessed(outputs: list[str], letter: str | None) -> None:
    expected = None if letter is None else "ABCD".index(letter)
    assert [output for output in outputs if find_letter(output, TEXTS) != expected] == []


UNITS = [
    "A ", "A, ", "B: ", "A\n", "(", "[(<", "_", "<answer>", "\\text{", "\\boxed{", "answer is ", "the ", "so ",
    "Focal ",
]  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_long_repetitions_are_read_at_once(unit: str) -> None:
    """Whatever is read in them: a pattern whose time grows with the square of the length would take minutes."""
    find_letter(unit * (20_000 // len(unit)), TEXTS)
    find_letter("answer is " + unit * (20_000 // len(unit)) + "?", TEXTS)
