import pytest

from umed.evaluation.rules.mentions import find_mentions, named

CATEGORIES = ("kidney", "kidney stone", "cyst", "lung nodule")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("A kidney stone is seen.", {"kidney stone"}),
        ("A KIDNEY\n stone is seen.", {"kidney stone"}),
        ("The kidney holds a kidney stone.", {"kidney", "kidney stone"}),
        ("A cyst next to a lung-nodule.", {"cyst", "lung nodule"}),
        ("Cystic change, kidneys, subcyst.", set()),
        ("", set()),
    ],
)
def test_names_are_whole_words_and_the_longest_wins(text: str, names: set[str]) -> None:
    assert named(text, CATEGORIES) == names
    assert named(text, CATEGORIES[::-1]) == names


@pytest.mark.parametrize(
    "before",
    [
        "no", "No", "not a", "without any large", "no sign of", "no evidence of", "No evidence of a", "absence of",
        "there is absence of any", "no sign of any",
    ],
)  # fmt: skip
def test_a_negation_does_not_count(before: str) -> None:
    assert named(f"{before} cyst.", CATEGORIES) == set()
    assert find_mentions(f"{before} cyst.", "cyst") == []


@pytest.mark.parametrize("before", ["note the", "nothing but", "evidence of", "No change. A", "Is it benign? No; a"])
def test_a_negation_elsewhere_counts_as_a_mention(before: str) -> None:
    assert named(f"{before} cyst.", CATEGORIES) == {"cyst"}


def test_one_mention_that_is_not_negated_is_enough() -> None:
    assert named("No cyst on the left side; a cyst on the right.", CATEGORIES) == {"cyst"}


def test_a_negated_long_name_is_no_mention_of_the_short_one() -> None:
    text = "There is no evidence of a kidney stone"
    assert named(text, ["kidney stone", "stone"]) == set()


def test_aliases_name_their_category_and_may_be_shared() -> None:
    aliases = {"kidney stone": ["nephrolithiasis", "renal calculus"], "cyst": ["renal calculus"]}
    assert named("Nephrolithiasis.", CATEGORIES, aliases) == {"kidney stone"}
    assert named("A renal calculus.", CATEGORIES, aliases) == {"kidney stone", "cyst"}


def test_underscores_regular_expressions_and_empty_names() -> None:
    assert named("a kidney stone (grade 2)", ["kidney_stone", "stone (grade 2)", "", "a.k"]) == {"stone (grade 2)"}
    assert named("a kidney stone", ["kidney_stone", ""]) == {"kidney_stone"}


def test_spans_point_at_the_words() -> None:
    text = "Kidney stone left, no kidney stone right, nephrolithiasis."
    spans = find_mentions(text, "kidney stone", ["nephrolithiasis", "stone"])
    assert [text[a:b] for a, b in spans] == ["Kidney stone", "nephrolithiasis"]
    assert spans[0] == (0, 12)
