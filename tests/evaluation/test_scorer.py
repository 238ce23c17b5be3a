"""Verdicts of every data set's scorer: which rule applies where, what a value is the mean of, what stands beside it."""

import math

import pytest
from answers import SCORERS, diagnose, line, parse, predict

from umed.evaluation.prediction import Prediction
from umed.evaluation.rules.labels import LABELS
from umed.evaluation.score import CANDIDATES, Score, flat_metrics
from umed.evaluation.scorer import Options, judge_all, mean_scores

CHOICES = [" A:cyst", " B:mass", " C:stone", " D:polyp"]
MIXED = [
    predict(0, "slake", "open", "CT", "ct"),
    predict(1, "pmc_vqa", "choice", "B", "B", choices=CHOICES, scores={"A": 0.1, "B": 0.2, "C": 0.3, "D": 0.4}),
    predict(2, "slake", "open", "left lung", "lung"),
    predict(3, "slake", "closed", "Yes", "yes it is"),
    predict(4, "pmc_vqa", "blank", "stone", "stones", choices=CHOICES),
    predict(5, "pmc_vqa", "choice", " C:stone", "hm", choices=CHOICES),
    predict(6, "slake", "open", 2, ""),
    predict(7, "slake", "open", None, "None"),
    predict(8, "vqa_rad", "open", "lung", "lung", choices=["lung", "liver"]),
    predict(9, "vqa_rad", "open", "lung", "lungs", choices=["lungs", "liver"]),
]


def judge(*predictions: Prediction, **options: object) -> list[dict]:
    return [dict(v) for v in judge_all(predictions, SCORERS, Options(**options))]


def means(dataset: str, *predictions: Prediction) -> dict[str, Score]:
    """Rule, with its slice and row if it has them -> score."""
    own = [p for p in predictions if p.question.dataset == dataset]
    scorer = SCORERS[dataset.removeprefix("phantom_")]
    scores = mean_scores(scorer, dataset, own, scorer.judge(own))
    return {"/".join(filter(None, (s.rule, s.slice, s.row))): s for s in scores}


def test_each_prediction_gets_the_rules_of_its_data_set_in_order() -> None:
    found = judge(*MIXED)
    assert [tuple(v)[: len(SCORERS[p.question.dataset].rules)] for p, v in zip(MIXED, found, strict=True)] == [
        SCORERS[p.question.dataset].rules for p in MIXED
    ]
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
    [lost] = judge(predict(0, "pmc_vqa", "blank", "B: foreign", "foreign", choices=CHOICES))  # gold is no choice
    assert lost["blank_exact"] is True and lost["blank_nearest"] is False
    [empty] = judge(predict(0, "slake", "open", "", ""))
    assert [empty[r] for r in SCORERS["slake"].rules[:4]] == [False, 0.0, False, False]


def test_open_nearest_knows_the_golds_of_its_own_data_set_or_the_items_choices() -> None:
    found = judge(*MIXED)
    assert found[2]["open_nearest"] is True  # of CT, left lung, 2, None
    assert found[8]["open_nearest"] is True and found[9]["open_nearest"] is False  # the gold is not among the choices
    assert means("slake", *MIXED)[f"open_nearest/{CANDIDATES}"].value == 4
    assert judge(predict(0, "slake", "open", "x", "lung"), predict(1, "slake", "closed", "lung", "lung"))[0] == {
        **dict.fromkeys(SCORERS["slake"].rules), "open_exact": False, "open_recall": 0.0, "open_recall75": False,
        "open_nearest": False,
    }  # fmt: skip
    raw = judge(predict(0, "slake", "open", "Lung ", "Lung "), predict(1, "slake", "open", "lung", "Lung "))
    assert [v["open_nearest"] for v in raw] == [True, False]  # raw texts
    assert [v["open_exact"] for v in raw] == [True, True]


def test_a_value_is_the_mean_over_the_items_it_applies_to() -> None:
    slake, pmc = means("slake", *MIXED), means("pmc_vqa", *MIXED)
    assert slake["open_exact"] == Score("slake", "open_exact", 2 / 4, n=4)
    assert slake["open_recall"].value == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert slake["closed_exact"].n == 1 and pmc["choice_letter"].value == 0.5
    assert pmc["choice_likelihood"].n == 1
    assert pmc["unreadable"] == Score("pmc_vqa", "unreadable", 0.5, n=2)
    assert "closed_exact" not in means("vqa_rad", *MIXED)
    assert all(math.isfinite(s.value) for s in (*slake.values(), *pmc.values()))


def test_medmnist_takes_scores_by_name_and_says_what_was_written() -> None:
    names, dataset = LABELS["medmnist_breast"], "medmnist_breast"
    rows = [("malignant", "malignant", (0.9, 0.1)), ("normal, benign", "malignant", (0.4, 0.6)),
            ("malignant", "normal, benign", (0.3, 0.7)), ("normal, benign", "", None)]  # fmt: skip
    predictions = [
        predict(k, dataset, "label", gold, output,
                scores=s and dict(zip(reversed(names), reversed(s), strict=True)), choices=list(names))
        for k, (gold, output, s) in enumerate(rows)
    ]  # fmt: skip
    found = judge(*predictions)
    assert [v["acc"] for v in found] == [True, True, False, None] and {v["auc"] for v in found} == {None}
    assert [v["acc_generated"] for v in found] == [True, False, False, False]
    values = means(dataset, *predictions)
    assert (values["acc"].value, values["acc"].n) == (2 / 3, 3) and (values["auc"].value, values["auc"].n) == (0.5, 3)
    silent = [p.model_copy(update={"output": ""}) for p in predictions[:2]]
    assert [v["acc_generated"] for v in judge(*silent)] == [None, None]  # what gives scores alone writes no answer
    assert "auc" not in means(dataset, predictions[0], predictions[2])  # no number where there is no curve


def test_a_stand_in_has_the_rules_of_what_it_stands_for() -> None:
    slake = [p for p in MIXED if p.question.dataset == "slake"]
    drawn = [parse({**p.to_line(), "dataset": "phantom_slake"}) for p in slake]
    assert judge(*drawn) == judge(*slake)
    assert means("phantom_slake", *drawn)["open_exact"].value == 0.5


def test_mau_knows_the_categories_of_a_source_from_its_items() -> None:
    predictions = [
        diagnose(0, "a", "a cyst and a stone"),
        diagnose(1, "a", "a stone", [[0, 0, 10, 10]], category="stone", image="another.png"),
        diagnose(2, "b", "a stone and a cyst"),
        diagnose(3, "b", "a vesicle"),
    ]
    found = judge(*predictions)
    assert [v["accuracy"] for v in found] == [False, True, True, False]
    assert found[1] == {"accuracy": True, "iou": 1.0, "acc@0.5": True, "unparsed": False}
    assert found[0] == {"accuracy": False, "iou": 0.0, "acc@0.5": False, "unparsed": True}
    assert judge(*predictions, allow_others=True)[0]["accuracy"] is True
    assert judge(*predictions, synonyms={"cyst": ["vesicle"]})[3]["accuracy"] is True
    told = [predictions[2].model_copy(update={"question": diagnose(2, "b", "", categories=["stone"]).question})]
    assert judge(*told)[0]["accuracy"] is False  # the item itself names the other category
    values = means("mau", *predictions)
    assert values["accuracy"] == Score("mau", "accuracy", 0.5, n=4)
    assert values["accuracy_multiclass/avg"] == Score("mau", "accuracy_multiclass", 0.5, "avg", n=2)
    assert "accuracy_multiclass/avg" not in means("mau", *predictions[2:])  # one category


def test_what_is_also_gold_for_the_picture_is_not_wrong() -> None:
    """Two findings of one picture are two items; another picture's finding, or one that nothing has, stays wrong."""
    both = {"image": "a.png"}
    found = judge(
        diagnose(0, "a", "a cyst and a stone", **both),
        diagnose(1, "a", "a cyst and a stone", category="stone", **both),
        diagnose(2, "a", "a cyst, a stone and a tumor", **both, categories=["tumor"]),
        diagnose(3, "a", "a cyst and a stone", image="b.png"),
        diagnose(4, "b", "a cyst and a stone", **both, categories=["stone"]),
    )
    assert [v["accuracy"] for v in found] == [True, True, False, False, False]
    alone = judge(diagnose(0, "a", "a cyst and a stone", categories=["stone"], also_gold=["stone"]))
    assert alone[0]["accuracy"] is True  # the other item need not be among those that are scored
    nested = [diagnose(k, "a", "a brain tumor", category=c, **both) for k, c in enumerate(("tumor", "brain tumor"))]
    assert [v["accuracy"] for v in judge(*nested)] == [False, True]  # it is the longer name


def test_attention_is_the_mean_over_the_answers_that_name_the_abnormality() -> None:
    looks = [0.5, None, 0.25, 1.0]
    predictions = [
        diagnose(k, "aabb"[k], "a cyst").model_copy(update={"attention": look}) for k, look in enumerate(looks)
    ]
    values = means("mau", *predictions)
    found = {name: values[f"attention/{name}"].value for name in ("a", "b", "avg")}
    assert found == {"a": 0.5, "b": 0.625, "avg": 0.5625} and values["attention/avg"].n == 3
    assert parse(predictions[0].to_line()) == predictions[0] and "attention" not in predictions[1].to_line()


def test_boxes_of_an_answer_are_claimed_absent_or_unread() -> None:
    found = judge(
        diagnose(0, "a", "", None), diagnose(1, "a", "", []), diagnose(2, "a", "", [[16, 16, 16, 19]]),
        diagnose(3, "a", "", [[16, 16, 16, 19], [0, 0, 10, 10], [30, 0, 40, 9]]),
    )  # fmt: skip
    assert [v["unparsed"] for v in found] == [True, False, False, False]
    assert [v["iou"] for v in found] == [0, 0, 0, 1]


def test_sampled_answers_and_normal_pictures_are_scored_by_source() -> None:
    mau, box = SCORERS["mau"], [[0, 0, 10, 10]]
    sampled = [diagnose(0, "a", "A cyst.", box), diagnose(0, "a", "", None), diagnose(1, "b", "", box)]
    values = flat_metrics(mau.score_samples(sampled))
    assert values == {
        "mau/accuracy_sampled/a": 0.5, "mau/accuracy_sampled/b": 0.0, "mau/accuracy_sampled/avg": 0.25,
        "mau/iou_sampled/a": 0.5, "mau/iou_sampled/b": 1.0, "mau/iou_sampled/avg": 0.75,
    }  # fmt: skip
    gold = {"gold_boxes": [], "categories": ["cyst", "stone"]}
    controls = [
        diagnose(0, "a", "A stone.", box, **gold),
        diagnose(1, "a", "A vesicle.", None, **gold),
        diagnose(2, "b", "Nothing, no cyst.", [], **gold),
    ]
    values = flat_metrics(mau.score_controls(controls, Options(synonyms={"cyst": ["vesicle"]})))
    assert values == {
        "mau/false_positives/a": 1.0, "mau/false_positives/b": 0.0, "mau/false_positives/avg": 0.5,
        "mau/false_boxes/a": 0.5, "mau/false_boxes/b": 0.0, "mau/false_boxes/avg": 0.25,
    }  # fmt: skip
    assert mau.score_samples([]) == mau.score_controls([]) == []
    mine = [p.model_copy(update={"question": p.question.model_copy(update={"dataset": "mine"})}) for p in sampled]
    assert {score.dataset for score in mau.score_samples(mine)} == {"mine"}  # a benchmark of a user's own with boxes


def test_other_peoples_rules_are_computed_when_asked_for() -> None:
    found = judge(*MIXED, compat=("closed_contains@llavamed", "open_exact@llavamed"))
    assert found[3]["closed_contains@llavamed"] is True and found[3]["open_exact@llavamed"] is None
    assert found[2]["open_exact@llavamed"] == 1.0 and "open_exact@llavamed" not in found[1]


def test_a_line_of_a_file_is_judged_as_it_was_written() -> None:
    assert judge(*(parse(p.to_line()) for p in MIXED)) == judge(*MIXED)
    assert line(0, "slake", "open", "CT", "ct") == MIXED[0].to_line()
