"""Rules over whole files: which applies where, what a value is the mean of, what is counted beside it."""

import math

import pytest
from umed.evaluation.verdicts import RULES, metrics, verdicts

from umed.errors import InputError
from umed.evaluation.question import DATASETS
from umed.evaluation.rules.labels import LABELS


def line(number: int, dataset: str, answer_type: str, answer: object, output: str, **more: object) -> dict:
    base = {"id": str(number), "dataset": dataset, "split_file": "test.json", "question": "What?", "answer": answer}
    empty = {"choices": None, "boxes": None, "scores": None, "image": "a.png"}
    return {**base, "answer_type": answer_type, "output": output, **empty, **more}


CHOICES = [" A:cyst", " B:mass", " C:stone", " D:polyp"]
MIXED = [
    line(0, "slake", "open", "CT", "ct"),
    line(1, "pmc_vqa", "choice", "B", "B", choices=CHOICES, scores={"A": 0.1, "B": 0.2, "C": 0.3, "D": 0.4}),
    line(2, "slake", "open", "left lung", "lung"),
    line(3, "slake", "closed", "Yes", "yes it is"),
    line(4, "pmc_vqa", "blank", "stone", "stones", choices=CHOICES),
    line(5, "pmc_vqa", "choice", " C:stone", "hm", choices=CHOICES),
    line(6, "slake", "open", 2, ""),
    line(7, "slake", "open", None, "None"),
    line(8, "vqa_rad", "open", "lung", "lung", choices=["lung", "liver"]),
    line(9, "vqa_rad", "open", "lung", "lungs", choices=["lungs", "liver"]),
]


def test_every_data_set_has_its_rules() -> None:
    assert set(RULES) == set(DATASETS)
    assert RULES["vqa_rad"][:2] == ("open_exact", "open_recall") and RULES["mau"] == (
        "accuracy",
        "iou",
        "acc@0.5",
        "unparsed",
    )


def test_each_line_gets_the_rules_of_its_data_set_in_file_order() -> None:
    found = verdicts(MIXED)
    assert [tuple(v) for v in found] == [RULES[x["dataset"]] for x in MIXED]
    assert found[0] == {
        "open_exact": True, "open_recall": 1.0, "open_recall75": True, "open_nearest": False, "closed_exact": None,
        "closed_contains": None,
    }  # fmt: skip
    assert found[1]["choice_letter"] is True and found[1]["choice_likelihood"] is False
    assert found[1]["blank_exact"] is None and found[4]["choice_letter"] is None
    assert found[3]["closed_exact"] is False and found[3]["closed_contains"] is True and found[3]["open_exact"] is None
    assert found[4]["blank_exact"] is False and found[4]["blank_nearest"] is True
    assert found[5]["choice_letter"] is False and found[5]["choice_likelihood"] is None
    assert [found[6][r] for r in ("open_exact", "open_recall", "open_nearest")] == [False, 0.0, False]  # never None
    assert found[7]["open_exact"] is True and found[7]["open_nearest"] is True
    [lost] = verdicts([line(0, "pmc_vqa", "blank", "B: foreign", "foreign", choices=CHOICES)])  # gold is no choice
    assert lost["blank_exact"] is True and lost["blank_nearest"] is False
    [empty] = verdicts([line(0, "slake", "open", "", "")])
    assert [empty[r] for r in RULES["slake"][:4]] == [False, 0.0, False, False]


def test_open_nearest_knows_the_golds_of_its_own_data_set_or_the_lines_choices() -> None:
    found = verdicts(MIXED)
    assert found[2]["open_nearest"] is True  # of CT, left lung, 2, None
    assert found[8]["open_nearest"] is True and found[9]["open_nearest"] is False  # the gold is not among the choices
    assert metrics(MIXED, found)["slake/open_nearest/candidates"] == 4
    assert verdicts([line(0, "slake", "open", "x", "lung"), line(1, "slake", "closed", "lung", "lung")])[0] == {
        **dict.fromkeys(RULES["slake"]), "open_exact": False, "open_recall": 0.0, "open_recall75": False,
        "open_nearest": False,
    }  # fmt: skip


def test_raw_texts_count_for_open_nearest() -> None:
    lines = [line(0, "slake", "open", "Lung ", "Lung "), line(1, "slake", "open", "lung", "Lung ")]
    assert [v["open_nearest"] for v in verdicts(lines)] == [True, False]
    assert [v["open_exact"] for v in verdicts(lines)] == [True, True]


def test_a_value_is_the_mean_over_the_items_it_applies_to() -> None:
    found = metrics(MIXED, verdicts(MIXED))
    assert found["slake/open_exact"] == 2 / 4 and found["slake/open_exact/n"] == 4
    assert found["slake/open_recall"] == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert found["slake/closed_exact/n"] == 1 and found["pmc_vqa/choice_letter"] == 0.5
    assert found["pmc_vqa/choice_likelihood/n"] == 1
    assert found["pmc_vqa/unreadable"] == 0.5 and found["pmc_vqa/unreadable/n"] == 2
    assert "vqa_rad/closed_exact" not in found and all(math.isfinite(v) for v in found.values())


def test_medmnist_takes_scores_by_name_and_says_what_was_written() -> None:
    names = LABELS["medmnist_breast"]
    rows = [("malignant", "malignant", (0.9, 0.1)), ("normal, benign", "malignant", (0.4, 0.6)),
            ("malignant", "normal, benign", (0.3, 0.7)), ("normal, benign", "", None)]  # fmt: skip
    lines = [
        line(
            k,
            "medmnist_breast",
            "label",
            gold,
            said,
            scores=s and dict(zip(reversed(names), reversed(s), strict=True)),
            choices=list(names),
        )
        for k, (gold, said, s) in enumerate(rows)
    ]
    found = verdicts(lines)
    assert [v["acc"] for v in found] == [True, True, False, None] and {v["auc"] for v in found} == {None}
    assert [v["acc_generated"] for v in found] == [True, False, False, False]
    values = metrics(lines, found)
    assert values["medmnist_breast/acc"] == 2 / 3 and values["medmnist_breast/acc/n"] == 3
    assert values["medmnist_breast/auc"] == 0.5 and values["medmnist_breast/auc/n"] == 3
    scores_alone = [{**x, "output": ""} for x in lines[:2]]
    assert [v["acc_generated"] for v in verdicts(scores_alone)] == [None, None]
    one_class = [lines[0], lines[2]]
    assert "medmnist_breast/auc" not in metrics(one_class, verdicts(one_class))  # no number where there is no curve


def test_a_stand_in_has_the_rules_of_what_it_stands_for() -> None:
    lines = [{**x, "dataset": "phantom_slake"} for x in MIXED if x["dataset"] == "slake"]
    found = verdicts(lines)
    assert found == [v for v, x in zip(verdicts(MIXED), MIXED, strict=True) if x["dataset"] == "slake"]
    assert metrics(lines, found)["phantom_slake/open_exact"] == 0.5


MAU = {"source": "a", "category": "stone", "gold_boxes": [[0, 0, 4, 4]], "width": 8, "height": 8}


def test_mau_knows_the_categories_of_a_source_from_the_file() -> None:
    lines = [
        line(0, "mau", "diagnosis", "", "a stone and a cyst", **MAU),
        {**line(1, "mau", "diagnosis", "", "a cyst", **{**MAU, "category": "cyst"}), "boxes": [[0, 0, 4, 4]]},
        line(2, "mau", "diagnosis", "", "a stone and a cyst", **{**MAU, "source": "b"}),
        line(3, "mau", "diagnosis", "", "a calculus", **{**MAU, "source": "b"}),
    ]
    found = verdicts(lines)
    assert [v["accuracy"] for v in found] == [False, True, True, False]
    assert found[1]["iou"] == 1.0 and found[1]["acc@0.5"] is True and found[0]["unparsed"] is True
    assert verdicts(lines, named=True)[0]["accuracy"] is True
    assert verdicts(lines, synonyms={"stone": ["calculus"]})[3]["accuracy"] is True
    values = metrics(lines, found)
    assert values["mau/accuracy"] == 0.5 and values["mau/accuracy/n"] == 4
    assert values["mau/accuracy/a"] == 0.5 and values["mau/accuracy/avg"] == 0.5
    assert values["mau/accuracy_multiclass/avg"] == 0.5 and values["mau/iou/avg"] == 0.25
    only_b = metrics(lines[2:], verdicts(lines[2:]))
    assert "mau/accuracy_multiclass/avg" not in only_b  # one category


def test_other_peoples_rules_are_computed_when_asked_for() -> None:
    found = verdicts(MIXED, compat=["closed_contains@llavamed", "open_exact@llavamed"])
    assert found[3]["closed_contains@llavamed"] is True and found[3]["open_exact@llavamed"] is None
    assert found[2]["open_exact@llavamed"] == 1.0 and "open_exact@llavamed" not in found[1]
    with pytest.raises(InputError, match=r"task.compat=bleu: choose of closed_contains@llavamed"):
        verdicts(MIXED, compat=["bleu"])
