"""The nearest candidate is difflib's, whatever it takes to find it sooner."""

import random
from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umed.evaluation.rules.nearest import are_nearest, nearest

DIFFUSE = (" A: Diffuse uptake pattern in the breast", " B: Abscess", " C: Carcinoma", " D: Dilated duct")
AXIAL = (" A: Axial T1-weighted magnetic resonance image", " B: CT", " C: A MRI", " D: X")
FIRST = (" A:Diffuse uptake pattern ", " B:Focal uptake pattern ", " C:No uptake pattern ",
         " D:Cannot determine from the information given ")  # fmt: skip
PARTS = ("left lung", "right lung", "liver", "heart")


def plain(output: str, candidates: list[str]) -> int | None:
    best, place = 0.0, None
    for k, candidate in enumerate(candidates):
        ratio = SequenceMatcher(None, candidate, output).ratio()
        if ratio > best:
            best, place = ratio, k
    return place


@pytest.mark.parametrize(
    ("candidates", "outputs", "places"),
    [
        (DIFFUSE, "ABCD", [1, 1, 2, 3]),  # "A" is compared with whole strings: the bug of the published script
        (AXIAL, "ABCD", [2, 1, 1, 3]),
        (FIRST, "ABCD", [0, 1, 2, 0]),
        (list("ABCD"), ["B", "b", "B:", "the answer is B", "A or B", "", "Because"], [1, None, 1, 1, 0, None, 1]),
        (("yes", "no"), ["No evidence of disease"], [1]),
        (PARTS, ["left", "lung", "Liver", "hepatic", "xyz"], [0, 0, 2, 3, None]),
        ((), ["a"], [None]),
        (("", "a"), ["", "a"], [None, 1]),  # nothing said is no answer, though difflib finds it equal
    ],
)
def test_published_vectors(candidates: tuple[str, ...], outputs: list[str], places: list[int | None]) -> None:
    assert [nearest(output, candidates) for output in outputs] == places


def test_of_equals_the_first_wins() -> None:
    for more in ("", "-" * 250):  # a short and a long answer
        output = "ax" + more
        assert nearest(output, ["ab", "ac"]) == 0 == plain(output, ["ab", "ac"])
        assert are_nearest([output] * 2, ["ab", "ac"], ["ab", "ac"]) == [True, False]


def test_the_order_of_the_arguments_counts() -> None:
    """ratio("tide", "diet") = .25, ratio("diet", "tide") = .5: the candidate comes first."""
    assert nearest("diet", ["tidx", "tide"]) == plain("diet", ["tidx", "tide"])
    assert nearest("tide", ["diet", "tixx"]) == 0 == plain("tide", ["diet", "tixx"])
    assert nearest("diet", ["tide", "dixx"]) == 1 == plain("diet", ["tide", "dixx"])


def test_a_long_answer_loses_its_frequent_letters() -> None:
    """From 200 characters on a letter that fills more than 1 % is ignored: even the gold text is not found."""
    short, long = "x" + "left lung " * 19, "x" + "left lung " * 20
    assert (len(short), len(long)) == (191, 201)
    assert nearest(short, ["left lung"]) == 0 and nearest(long, ["left lung"]) is None
    assert are_nearest([short, long], ["left lung"] * 2, ["left lung"]) == [True, False]


LETTERS = ("ab", "abcdefgh ", "abcdefghijklmnopqrstuvwxyz ABCDE0123.,", "中文字符的测试 ab")


@pytest.mark.parametrize("seed", range(40))
def test_long_answers_have_difflibs_verdict(seed: int) -> None:
    """Few rare letters, candidates inside, at the start and half of each: where a bound too low would show."""
    rng = random.Random(seed)
    for _ in range(8):
        letters = rng.choice(LETTERS)

        def text(least: int, most: int, letters: str = letters) -> str:
            return "".join(rng.choice(letters) for _ in range(rng.randint(least, most)))

        candidates = [text(0, rng.choice([3, 12, 40])) for _ in range(rng.randint(1, 12))]
        outputs = []
        for _ in range(6):
            long, some = text(200, rng.choice([260, 700])), rng.choice(candidates)
            place = rng.choice([0, 0, rng.randint(0, len(long))])
            outputs.append(long[:place] + some[: rng.choice([len(some), len(some) // 2])] + long[place:])
        golds = [candidates[p] if (p := plain(o, candidates)) is not None else "zz" for o in outputs]
        assert are_nearest(outputs, golds, candidates) == [gold != "zz" for gold in golds]
        others = [rng.choice(candidates) for _ in outputs]
        assert are_nearest(outputs, others, candidates) == [a == b for a, b in zip(golds, others, strict=True)]


TEXT = st.one_of(
    st.text("ab", max_size=9),
    st.text("abc ", max_size=30),
    st.text("left ungæ中", max_size=12),
    st.builds(lambda t, n: t * n, st.text("abcdefgh ", min_size=1, max_size=40), st.integers(1, 12)),
)


@given(st.lists(TEXT, max_size=8), st.lists(TEXT, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_the_verdict_is_difflibs(candidates: list[str], outputs: list[str], random) -> None:
    outputs = [*outputs, *candidates[:1]]
    golds = [random.choice([*candidates, "zz"]) for _ in outputs]
    places = [plain(output, candidates) if output else None for output in outputs]
    assert [nearest(output, candidates) for output in outputs] == places
    expected = [p is not None and candidates[p] == gold for p, gold in zip(places, golds, strict=True)]
    assert are_nearest(outputs, golds, candidates) == expected
