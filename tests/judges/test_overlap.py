from dataclasses import replace

import pytest

from umed.data.controls import DIAGNOSIS
from umed.errors import InputError
from umed.judges.base import JudgeItem, Verdict
from umed.judges.overlap import OverlapJudge, token_f1

ITEM = JudgeItem(
    query="What is abnormal?",
    gold="The CT shows a kidney stone in the left kidney.",
    answer="",
    category="kidney stone",
    others=("cyst", "tumor"),
)


def score(answer: str, item: JudgeItem = ITEM, **settings: float) -> float:
    (verdict,) = OverlapJudge(**settings)([replace(item, answer=answer)])
    assert verdict.score is not None
    return verdict.score


@pytest.mark.parametrize("gold", [ITEM.gold, "A cyst beside a kidney stone.", "A bright calculus.", "The"])
def test_the_gold_diagnosis_scores_exactly_one(gold: str) -> None:
    assert score(gold, replace(ITEM, gold=gold)) == 1.0


def test_an_empty_answer_scores_zero() -> None:
    assert score("") == score(" \n.") == 0.0


def test_the_right_category_in_other_words_beats_a_wrong_one_in_the_gold_words() -> None:
    wrong = score("The CT shows a cyst in the left kidney.")
    assert score("Kidney stone!") > 0.5 > wrong > 0.2
    assert score("kidney stone, differently worded entirely, unlike reference") > wrong


def test_a_right_category_with_more_of_the_words_scores_higher() -> None:
    assert 1 > score("A kidney stone in the left kidney.") > score("A kidney stone.")


@pytest.mark.parametrize("answer", ["A kidney stone and a cyst.", "No kidney stone in the left kidney."])
def test_another_category_or_a_negation_earns_words_only(answer: str) -> None:
    assert 0 < score(answer) < 0.5
    assert score(answer, category_weight=1.0) == 0.0


def test_a_category_that_the_gold_names_too_may_be_named() -> None:
    item = replace(ITEM, gold="A kidney stone, not far from it a large and simple cyst.")
    assert score("Kidney stone, cyst.", item, category_weight=1.0) == 1.0
    assert score("Kidney stone, tumor.", item, category_weight=1.0) == 0.0


def test_the_category_counts_even_where_the_gold_does_not_spell_it() -> None:
    assert score("A kidney stone.", replace(ITEM, gold="A bright calculus."), category_weight=1.0) == 1.0


def test_the_weight_moves_between_category_and_words() -> None:
    assert score("kidney stone", category_weight=1.0) == 1.0
    assert score("kidney stone", category_weight=0.0) == pytest.approx(token_f1("kidney stone", ITEM.gold))


def test_token_f1_counts_content_words() -> None:
    assert token_f1("the stone", "a stone, left") == pytest.approx(2 / 3)
    assert token_f1("stone stone", "stone left") == pytest.approx(0.5)
    assert token_f1("the", "the") == 0.0


def test_without_a_gold_diagnosis_the_judge_fails() -> None:
    nobody_knows = replace(ITEM, gold=" ", answer="a stone", category="")
    assert OverlapJudge()([nobody_knows]) == [Verdict(None, "no gold diagnosis")]


def test_without_a_diagnosis_the_category_alone_counts() -> None:
    answers = (f"A {ITEM.category}.", f"A {ITEM.category} or a {ITEM.others[0]}.", "Normal.")
    verdicts = OverlapJudge()([replace(ITEM, gold="", answer=answer) for answer in answers])
    assert [v.score for v in verdicts] == [1.0, 0.0, 0.0]


def test_of_a_normal_picture_an_abnormality_scores_low() -> None:
    item = replace(ITEM, gold=DIAGNOSIS, category="normal", others=("kidney stone", "cyst"))
    assert score(DIAGNOSIS, item) == 1.0 > score("The image is normal.", item) > 0.7
    for answer in ("There is an abnormality. It is small, in the left part. The finding is a kidney stone.", "A cyst."):
        assert score(answer, item) < 0.15
    assert score(f"{DIAGNOSIS} A cyst is seen.", item) < 0.5
    assert score("The image is not normal. A cyst.", item, category_weight=1.0) == 0.0


def test_verdicts_come_in_order_and_repeat() -> None:
    items = [replace(ITEM, answer=a) for a in ("", ITEM.gold, "cyst")]
    first = OverlapJudge()(items)
    assert [v.score for v in first] == [0.0, 1.0, 0.0]
    assert OverlapJudge()(items) == first
    assert OverlapJudge()([]) == []


def test_a_weight_out_of_range_is_told() -> None:
    with pytest.raises(InputError, match="category_weight=1.5"):
        OverlapJudge(1.5)
