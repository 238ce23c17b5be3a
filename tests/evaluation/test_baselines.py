"""Answers without looking, and what they do to a result."""

import numpy as np
import pytest

from umed.evaluation.baselines import majority, question_prior
from umed.evaluation.intervals import grouped_means
from umed.evaluation.question import Question
from umed.evaluation.results import results
from umed.evaluation.verdicts import verdicts


def line(
    number: int, answer: object, kind: str = "open", question: str = "Where?", output: str = "", **more: object
) -> dict:
    base = {"id": str(number), "dataset": "slake", "split_file": "t", "question": question, "answer": answer}
    return {**base, "answer_type": kind, "choices": None, "output": output, "scores": None, "boxes": None,
            "image": f"{number % 3}.png", **more}  # fmt: skip


LINES = [line(0, "left"), line(1, "left "), line(2, "right"), line(3, "yes", "closed"), line(4, 2, dataset="vqa_rad")]


def test_the_majority_is_of_the_same_data_set_and_type() -> None:
    assert [x["output"] for x in majority(LINES)] == ["left", "left", "left", "yes", "2"]
    assert majority(LINES)[0] == {**LINES[0], "output": "left"}
    assert LINES[0]["output"] == ""


def test_spellings_of_one_answer_are_counted_together() -> None:
    lines = [line(k, a, "closed") for k, a in enumerate(["Yes", "yes", "Yes ", "No", "No"])]
    assert {x["output"] for x in majority(lines)} == {"Yes"}
    train = [asked("Is it?", a, "closed") for a in ("No", "No", "Yes", "yes", "yes")]
    assert question_prior([line(0, "", "closed", "Is it?")], train)[0]["output"] == "yes"


def test_of_mau_it_is_the_most_frequent_category_of_the_source() -> None:
    own = {"dataset": "mau", "source": "a", "boxes": [[0, 0, 1, 1]]}
    lines = [line(k, "", "diagnosis", **{**own, "category": c}) for k, c in enumerate(["x", "y", "y"])]
    lines.append(line(9, "", "diagnosis", **{**own, "category": "z", "source": "b"}))
    assert [(x["output"], x["boxes"]) for x in majority(lines)] == [("y", None)] * 3 + [("z", None)]


def test_scores_follow_what_is_said() -> None:
    names = ["normal", "pneumonia"]
    lines = [
        line(k, g, "label", dataset="medmnist_pneumonia", choices=names)
        for k, g in enumerate(["pneumonia"] * 2 + ["normal"])
    ]
    said = majority(lines)
    assert [x["scores"] for x in said] == [{"normal": 0.0, "pneumonia": 1.0}] * 3
    found = results(lines, verdicts(lines), {"majority": said}, draws=0)
    assert found["medmnist_pneumonia/acc/majority"] == pytest.approx(2 / 3)
    assert found["medmnist_pneumonia/auc/majority"] == 0.5
    assert "medmnist_pneumonia/acc" not in found  # there were no scores


def test_golds_in_any_form_are_counted_together() -> None:
    labels = [
        line(k, g, "label", dataset="medmnist_pneumonia") for k, g in enumerate([1, "pneumonia", "0", "normal", 1.0])
    ]
    assert {x["output"] for x in majority(labels)} == {"pneumonia"}
    assert majority(labels)[0]["scores"] == {"normal": 0.0, "pneumonia": 1.0}
    choices = [" A:cyst", " B:mass", " C:stone", " D:polyp"]
    asked_of = [line(k, g, "choice", dataset="pmc_vqa", choices=choices) for k, g in enumerate(["C", " C:stone", "A"])]
    assert {x["output"] for x in majority(asked_of)} == {"C"}
    blank = [
        {**x, "answer_type": "blank", "answer": g} for x, g in zip(asked_of, ["B", "B:mass", " cyst"], strict=True)
    ]
    assert {x["output"] for x in majority(blank)} == {"mass"}


def asked(text: str, answer: str, kind: str = "open") -> Question:
    return Question("1", "slake", "train.json", text, answer, kind, "a.png")


def test_the_prior_answers_from_the_question_alone() -> None:
    where = [
        asked("Where?", "lung"),
        asked(" where", "lung"),
        asked("Where?", "liver"),
        asked("Where?", "Yes", "closed"),
    ]
    train = [*where, asked("Is it?", "No", "closed"), asked("Which?", "CT"), asked("What?", "CT"), asked("Who?", "CT")]
    lines = [line(0, ""), line(1, "", question="New?"), line(2, "", "closed", "Is it?"), line(3, "", "blank")]
    assert [x["output"] for x in question_prior(lines, train)] == ["lung", "CT", "No", ""]


def test_rows_stand_beside_the_result() -> None:
    lines = [line(0, "left", output="left"), line(1, "left", output="right"), line(2, "right", output="right")]
    black = [{**x, "output": ""} for x in lines]
    found = results(lines, verdicts(lines), {"majority": majority(lines), "black": black}, {"slake": {"1"}}, draws=50)
    assert found["slake/open_exact"] == found["slake/open_exact/majority"] == pytest.approx(2 / 3)
    assert found["slake/open_exact/black"] == 0 and found["slake/open_exact/disjoint"] == 1
    assert 0 <= found["slake/open_exact/low"] <= 2 / 3 <= found["slake/open_exact/high"] <= 1
    assert not [name for name in found if name.count("/") > 2]
    assert "slake/open_exact/low" not in results(lines, verdicts(lines), draws=0)


def test_intervals_of_mau_are_by_source_over_pictures() -> None:
    rng, lines = np.random.default_rng(3), []
    for number in range(40):
        own = {"source": "ab"[number % 2], "category": "x", "gold_boxes": [[0, 0, 1, 1]], "width": 2, "height": 2}
        said = "x" if rng.random() < 0.4 + 0.4 * (number % 2) else ""
        own |= {"dataset": "mau", "image": f"{number // 4}.png"}
        lines.append(line(number, "", "diagnosis", output=said, **own))
    found = results(lines, verdicts(lines), draws=300)
    drawn = []
    for seed, source in enumerate("ab"):
        part = [x for x in lines if x["source"] == source]
        right = np.array([[float(x["output"] == "x")] for x in part])
        drawn.append(grouped_means(right, [x["image"] for x in part], 300, seed))
        expected = np.quantile(drawn[-1], [0.025, 0.975])
        assert [found[f"mau/accuracy/{source}/{end}"] for end in ("low", "high")] == pytest.approx(list(expected))
    expected = np.quantile((drawn[0] + drawn[1]) / 2, [0.025, 0.975])
    assert [found[f"mau/accuracy/avg/{end}"] for end in ("low", "high")] == pytest.approx(list(expected))


def test_a_constant_answer_has_no_boxes_to_judge() -> None:
    own = {"dataset": "mau", "source": "a", "category": "x", "gold_boxes": [[0, 0, 1, 1]], "width": 2, "height": 2}
    lines = [line(0, "", "diagnosis", output="x", **own)]
    found = results(lines, verdicts(lines), {"majority": majority(lines), "black": lines}, draws=0)
    assert found["mau/accuracy/majority"] == 1 and "mau/iou/majority" not in found and found["mau/iou/black"] == 0
