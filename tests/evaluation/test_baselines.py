"""Answers without looking."""

from typing import Any

import pytest
from answers import SCORERS, diagnose, predict
from hypothesis import given
from hypothesis import strategies as st

from umed.evaluation.baselines import answer_by_question, answer_majority
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import Question
from umed.evaluation.scorer import judge_all


def majority(*predictions: Prediction) -> list[Prediction]:
    return answer_majority(predictions, SCORERS)


def slake(number: int, answer: Any, kind: str = "open", question: str = "Where?", **more: Any) -> Prediction:
    return predict(number, more.pop("dataset", "slake"), kind, answer, "", question=question, **more)


def test_the_majority_is_of_the_same_data_set_and_type() -> None:
    given = [slake(0, "left"), slake(1, "left "), slake(2, "right"), slake(3, "yes", "closed"),
             slake(4, 2, dataset="vqa_rad")]  # fmt: skip
    assert [p.output for p in majority(*given)] == ["left", "left", "left", "yes", "2"]
    assert majority(*given)[0].question == given[0].question and given[0].output == ""


def test_spellings_of_one_answer_are_counted_together() -> None:
    given = [slake(k, a, "closed") for k, a in enumerate(["Yes", "yes", "Yes ", "No", "No"])]
    assert {p.output for p in majority(*given)} == {"Yes"}
    train = [asked("Is it?", a, "closed") for a in ("No", "No", "Yes", "yes", "yes")]
    [answer] = answer_by_question([slake(0, "", "closed", "Is it?")], train, SCORERS)
    assert answer.output == "yes"


def test_of_mau_it_is_the_most_frequent_category_of_the_source() -> None:
    given = [diagnose(k, "a", "?", [[0, 0, 1, 1]], category=c) for k, c in enumerate(["x", "y", "y"])]
    given.append(diagnose(9, "b", "?", [[0, 0, 1, 1]], category="z"))
    assert [(p.output, p.boxes) for p in majority(*given)] == [("y", None)] * 3 + [("z", None)]


def test_golds_in_any_form_are_counted_together_and_scores_follow() -> None:
    scores = {"normal": 0.5, "pneumonia": 0.5}
    labels = [slake(k, g, "label", dataset="medmnist_pneumonia", scores=scores)
              for k, g in enumerate([1, "pneumonia", "0", "normal", 1.0])]  # fmt: skip
    assert {p.output for p in majority(*labels)} == {"pneumonia"}
    assert [p.scores for p in majority(*labels)] == [{"normal": 0.0, "pneumonia": 1.0}] * 5
    choices = [" A:cyst", " B:mass", " C:stone", " D:polyp"]
    letters = [slake(k, g, "choice", dataset="pmc_vqa", choices=choices) for k, g in enumerate(["C", " C:stone", "A"])]
    assert {p.output for p in majority(*letters)} == {"C"}
    blank = [slake(k, g, "blank", dataset="pmc_vqa", choices=choices) for k, g in enumerate(["B", "B:mass", " cyst"])]
    assert {p.output for p in majority(*blank)} == {"mass"}


@given(st.lists(st.sampled_from(["left", "right", "Left ", "both"]), min_size=1, max_size=8))
def test_no_constant_answer_is_more_often_right(golds: list[str]) -> None:
    given = [slake(k, gold) for k, gold in enumerate(golds)]

    def right(predictions: list[Prediction]) -> int:
        return sum(bool(v["open_exact"]) for v in judge_all(predictions, SCORERS))

    constants = [[p.model_copy(update={"output": output}) for p in given] for output in golds]
    assert right(majority(*given)) == max(map(right, constants))


def asked(text: str, answer: str, kind: str = "open") -> Question:
    return Question(id="1", dataset="slake", question=text, answer=answer, answer_type=kind)


def test_the_prior_answers_from_the_question_alone() -> None:
    where = [asked("Where?", "lung"), asked(" where", "lung"), asked("Where?", "liver")]
    train = [*where, asked("Where?", "Yes", "closed"), asked("Is it?", "No", "closed")]
    train += [asked(text, "CT") for text in ("Which?", "What?", "Who?")]
    given = [slake(0, ""), slake(1, "", question="New?"), slake(2, "", "closed", "Is it?"), slake(3, "", "blank")]
    assert [p.output for p in answer_by_question(given, train, SCORERS)] == ["lung", "CT", "No", ""]
    assert [p.output for p in answer_by_question(given, [], SCORERS)] == [""] * 4


def test_a_prior_of_labels_has_their_scores() -> None:
    scores = {"normal": 0.5, "pneumonia": 0.5}
    [given] = [slake(0, "normal", "label", dataset="medmnist_pneumonia", scores=scores)]
    train = [Question(id="1", dataset="medmnist_pneumonia", answer="pneumonia", answer_type="label", question="Where?")]
    [answer] = answer_by_question([given], train, SCORERS)
    assert (answer.output, answer.scores) == ("pneumonia", {"normal": 0.0, "pneumonia": 1.0})
    [verdict] = judge_all([answer], SCORERS)
    assert verdict["acc"] is False and verdict["acc_generated"] is False and verdict["auc"] is None
    assert pytest.approx(sum(answer.scores.values())) == 1


def test_a_constant_answer_has_nothing_that_the_model_has_measured() -> None:
    answer = diagnose(0, "a", "A cyst.", [[0, 0, 5, 5]]).model_copy(update={"attention": 0.5})
    [constant] = answer_majority([answer], SCORERS)
    assert constant == Prediction(question=answer.question, output="cyst")
