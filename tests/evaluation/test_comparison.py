"""Two runs on the same items: what is no comparison, and what a difference is of."""

import pytest
from answers import SCORERS, diagnose, parse, predict
from hypothesis import given, settings
from hypothesis import strategies as st

from umed.errors import InputError
from umed.evaluation.comparison import (
    Difference,
    compare_pairs,
    pair_predictions,
    print_differences,
    print_examples,
    write_item,
)
from umed.evaluation.prediction import Prediction
from umed.evaluation.rules.labels import LABELS
from umed.evaluation.scorer import judge_all

NAMES = ["a", "b"]
CHOICES = [" A:cyst", " B:mass", " C:stone", " D:polyp"]
FIRST = [
    predict(0, "slake", "open", "CT", "ct."),
    predict(1, "slake", "open", "left lung", "lung lung"),
    predict(2, "pmc_vqa", "choice", "B", "I do not know", choices=CHOICES),
]


def changed(prediction: Prediction, **fields: object) -> Prediction:
    return parse({**prediction.to_line(), **fields})


def test_other_items_are_no_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="a: 1 items are in it alone, item 2 of pmc_vqa among them"):
        pair_predictions(FIRST, FIRST[:2], NAMES, False)
    with pytest.raises(InputError, match="b: 1 items are in it alone, item 2 of pmc_vqa among them"):
        pair_predictions(FIRST[:2], FIRST, NAMES, False)
    assert len(pair_predictions(FIRST, FIRST[:1], NAMES, True)) == 1
    assert "a: 2 items are in it alone and left out" in capsys.readouterr().out
    with pytest.raises(InputError, match="no item in common"):
        pair_predictions(FIRST[:2], FIRST[2:], NAMES, True)
    with pytest.raises(InputError, match=r"item 0 of slake: answer is 'CT' in a, 'MR' in b"):
        pair_predictions(FIRST[:1], [changed(FIRST[0], answer="MR")], NAMES, False)
    with pytest.raises(InputError, match="item 0 of slake: split_file is 'test.json' in a, 'train.json' in b"):
        pair_predictions(FIRST[:1], [changed(FIRST[0], split_file="train.json")], NAMES, False)
    mau = diagnose(0, "s", "")
    with pytest.raises(InputError, match=r"item 0 of mau: gold_boxes is .*10.0, 10.0.* in a, .*10.0, 5.0.* in b"):
        pair_predictions([mau], [changed(mau, gold_boxes=[[0, 0, 10, 5]])], NAMES, False)


def test_items_are_paired_in_the_order_of_the_first() -> None:
    other = [changed(p, output="?", image="elsewhere.png", question="Where?") for p in reversed(FIRST)]
    pairs = pair_predictions(FIRST, other, NAMES, False)
    assert [one for one, _ in pairs] == FIRST and [two for _, two in pairs] == other[::-1]


def compare(first: list[Prediction], second: list[Prediction]) -> dict[str, Difference]:
    pairs = list(zip(first, second, strict=True))
    verdicts = judge_all(first, SCORERS), judge_all(second, SCORERS)
    return {f"{d.dataset}/{d.rule}": d for d in compare_pairs(pairs, verdicts, SCORERS, 50)}


def test_a_difference_is_over_the_items_that_both_have_a_verdict_of() -> None:
    names = LABELS["medmnist_breast"]
    scores = [(0.9, 0.1), (0.2, 0.8), (0.6, 0.4), (0.7, 0.3)]
    one = [predict(k, "medmnist_breast", "label", names[k % 2], "", scores=dict(zip(names, s, strict=True)))
           for k, s in enumerate(scores)]  # fmt: skip
    two = [changed(p, scores=dict(zip(names, (0.4, 0.6), strict=True)) if k < 3 else None) for k, p in enumerate(one)]
    found = compare(one, two)
    acc, auc = found["medmnist_breast/acc"], found["medmnist_breast/auc"]
    assert (acc.n, acc.first, acc.second, acc.difference) == pytest.approx((3, 1, 1 / 3, -2 / 3))
    assert (acc.only_first, acc.only_second, acc.p) == (2, 0, 0.5)
    assert (auc.first, auc.second, auc.n, auc.p, auc.low) == (1.0, 0.5, 3, None, None)
    assert "medmnist_breast/auc/p" not in auc.to_metrics() and auc.to_metrics()["medmnist_breast/auc/n"] == 3


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=9))
def test_the_other_way_round_it_is_the_other_sign(items: list[tuple[bool, bool, int]]) -> None:
    sides = [
        [predict(k, "slake", "closed", "yes", "yes" if item[side] else "no", image=f"{item[2]}.png")
         for k, item in enumerate(items)] for side in (0, 1)
    ]  # fmt: skip
    there, back = (compare(sides[a], sides[b])["slake/closed_exact"] for a, b in ((0, 1), (1, 0)))
    assert there.difference == pytest.approx(-back.difference) == pytest.approx(there.second - there.first)
    assert (there.only_first, there.only_second, there.p) == (back.only_second, back.only_first, back.p)
    assert there.only_first == sum(a and not b for a, b, _ in items)
    assert (there.low is None) == (len({picture for _, _, picture in items}) == 1)
    if there.low is not None and back.high is not None:
        assert there.low == pytest.approx(-back.high) and -1 <= there.low <= there.difference <= (there.high or 0) <= 1
    same = compare(sides[0], sides[0])["slake/closed_exact"]
    assert (same.difference, same.p) == (0, 1)


def test_what_is_shown_of_two_runs(capsys: pytest.CaptureFixture[str]) -> None:
    second = [changed(FIRST[0], output="x" * 200), FIRST[1], changed(FIRST[2], output="B")]
    pairs = list(zip(FIRST, second, strict=True))
    verdicts = judge_all(FIRST, SCORERS), judge_all(second, SCORERS)
    items = [write_item(pair, both) for pair, both in zip(pairs, zip(*verdicts, strict=True), strict=True)]
    assert items[0]["open_exact"] == [True, False] and items[0]["output_first"] == "ct."
    assert "closed_exact" not in items[0] and list(items[0])[:5] == ["id", "dataset", "question", "answer", "image"]
    print_differences(compare_pairs(pairs, verdicts, SCORERS, 50), ["[/v2]/a", "b"], True)
    shown = capsys.readouterr().out
    assert "A = [/v2]/a" in shown and "(SYNTHETIC pictures)" in shown and "McNemar p" in shown
    print_examples(pairs, verdicts, 2)
    shown = capsys.readouterr().out
    assert "slake item 0: What? gold: CT" in shown and "B: xxx" in shown and "..." in shown
    assert "item 1" not in shown and "pmc_vqa item 2" in shown  # where they agree there is nothing to see
    print_examples(
        [(diagnose(0, "s", "A cyst."), diagnose(0, "s", "?"))], ([{"accuracy": True}], [{"accuracy": False}]), 1
    )
    assert "gold: cyst" in capsys.readouterr().out
