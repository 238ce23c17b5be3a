"""The rules of PMC-VQA: letters read strictly, likeness as MedVInT-TD has it."""

import pytest

from umed.evaluation.rules.choice import (
    blank_exact,
    blank_nearest,
    choice_letter,
    choice_likelihood,
    choice_nearest,
    gold_index,
    read_letter,
    without_prefix,
)

CHOICES = (" A: Diffuse uptake pattern in the breast", " B: Abscess", " C: Carcinoma", " D: Dilated duct")


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        *((text, "B") for text in ("B", "b", " B ", "(B)", "(b)", "[B]", "B.", "b:", "B)", "b,", '"B"', "**B**")),
        *((text, "B") for text in ("B: Focal", "B. Abscess", "(B) Abscess", "[B] no", "B) it is", "B:", "(B).")),
        ("The answer is B", "B"),
        ("the Answer is (B), since", "B"),
        ("Answer: C", "C"),
        ("**Answer:** C", "C"),
        ("I choose option D.", "D"),
        ("choice A", "A"),
        ("option A, that is, the answer is A", "A"),
        ("the answer is A, not option B", None),  # hits that disagree
        ("abscess", "B"),
        ("An Abscess.", "B"),
        ("Dilated duct", "D"),
        ("<answer>A</answer> no, <answer> B </answer>", "B"),
        ("so \\boxed{C}", "C"),
        ("<answer>B</answer> or \\boxed{C}", "C"),
        ("In <answer> tags: <answer>B</answer>", "B"),
        ("<answer>\\boxed{B}</answer>", "B"),
        ("the answer is A, \\boxed{\\text{B}}", "B"),  # the box counts
        ("\u3000B\u2003", "B"),
        ("option: B", "B"),
        ("optionC", None),
        ("the answer isB", None),
        ("the answer:B", "B"),
        ("A or B", None),
        ("", None),
        ("a mass", None),
        ("A mass", None),
        ("Because of it", None),
        ("b) Abscess", None),  # only a capital letter begins an answer
        ("E", None),
        ("the answer is Carcinoma", None),  # the C begins a word
        ("abscess or carcinoma", None),
    ],
)
def test_a_letter_is_read_or_not_but_never_guessed(output: str, letter: str | None) -> None:
    assert read_letter(output, CHOICES) == (None if letter is None else "ABCD".index(letter))
    for gold in range(4):
        assert choice_letter(output, gold, CHOICES) == (letter == "ABCD"[gold])


def test_a_long_run_of_spaces_is_read_at_once() -> None:
    for text in ("x" + " " * 200_000 + "x", "*" * 200_000 + "x" + "*" * 200_000, "\\boxed{" * 2000):
        assert read_letter(text, CHOICES) is None


def test_a_text_that_two_choices_have_is_no_answer() -> None:
    assert read_letter("cyst", (" A: cyst", " B: Cyst.", " C: x", " D: y")) is None


@pytest.mark.parametrize(
    ("choices", "texts"),
    [
        ((" A:Diffuse ", "B: B: no", " C:D:x", "D"), ["Diffuse", "B: no", "D:x", "D"]),
        (("A. one", "B. two", "C. three", "D. four"), ["one", "two", "three", "four"]),
        (("A) one", "B. two", "C: three", "D) four"), ["one", "two", "three", "four"]),
        (("one", "two", "C. difficile", "four"), ["one", "two", "C. difficile", "four"]),  # no prefix: not all have one
        ((" A:a", " B:b", " C:C. difficile", " D:d"), ["a", "b", "C. difficile", "d"]),
    ],
)
def test_prefixes(choices: tuple[str, ...], texts: list[str]) -> None:
    assert without_prefix(choices) == texts


@pytest.mark.parametrize(
    ("answer", "index"),
    [("B", 1), (" b ", 1), (" B: Abscess", 1), ("B: Abscess", 1), ("Abscess", 1), ("abscess.", 1), ("D", 3),
     ("B:Abscess", 1), ("b: Abscess", None), ("B:  abscess.", 1), ("C: Abscess", None), ("B.", 1), ("Cyst", None),
     ("", None), ("E", None)],
)  # fmt: skip
def test_the_gold_is_a_letter_or_a_text(answer: str, index: int | None) -> None:
    assert gold_index(answer, CHOICES) == gold_index(answer, CHOICES, letter_first=False) == index


def test_a_text_of_one_letter_is_the_text_of_a_blank_item() -> None:
    choices = (" A:C", " B:B", " C:A", " D:x")
    assert gold_index("A", choices) == 0 and gold_index("A", choices, letter_first=False) == 2
    assert gold_index("D", choices, letter_first=False) == 3


def test_likeness_is_medvints() -> None:
    assert [choice_nearest(c, 1, CHOICES) for c in "ABCD"] == [True, True, False, False]  # "A" selects B: the bug
    assert choice_nearest("Carcinoma", 2, CHOICES) and not choice_nearest("", 0, CHOICES)
    twice = (" A:cyst", " A:cyst", " C:x", " D:y")
    assert choice_nearest("cyst", 1, twice)  # the nearest to the gold is the first of equals, too


def test_likelihoods_take_the_first_maximum() -> None:
    assert choice_likelihood({"A": 0.2, "B": 0.4, "C": 0.4, "D": 0.0}, 1)
    assert not choice_likelihood({"A": 0.2, "B": 0.4, "C": 0.4, "D": 0.0}, 2)
    assert choice_likelihood({"D": 0.7, "B": 0.1, "C": 0.1, "A": 0.1}, 3)  # by letter, whatever the order


def test_blanks() -> None:
    assert blank_exact("the abscess.", "Abscess") and not blank_exact("abscess here", "Abscess")
    assert not blank_exact("", "the")
    assert blank_nearest("abscesses", "Abscess", CHOICES) and not blank_nearest("abscesses", "Carcinoma", CHOICES)
    assert not blank_nearest("", "Abscess", CHOICES)
    assert blank_nearest("cyst", "cyst", ("A:cyst", "B:cyst", "C:x", "D:y"))
