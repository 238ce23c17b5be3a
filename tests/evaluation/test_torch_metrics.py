"""The rules as torchmetrics modules give what the whole file gives."""

import pytest
import torch

from umed.errors import InputError
from umed.evaluation.rules.labels import LABELS
from umed.evaluation.torch_metrics import AucMetric, RuleMetric
from umed.evaluation.verdicts import metrics, verdicts


def line(number: int, kind: str, answer: str, output: str, **more: object) -> dict:
    base = {"id": str(number), "dataset": "slake", "question": "", "answer": answer, "answer_type": kind}
    return {**base, "output": output, "choices": None, "scores": None, "boxes": None, "image": None, **more}


LINES = [line(0, "open", "left lung", "lung"), line(1, "closed", "yes", "yes"), line(2, "open", "CT", "ct"),
         line(3, "open", "CT", "", dataset="vqa_rad")]  # fmt: skip


def test_batches_give_the_value_of_the_file() -> None:
    whole = metrics(LINES, verdicts(LINES))
    for rule in ("open_exact", "open_recall", "closed_exact"):
        metric = RuleMetric("slake", rule)
        for k in range(4):
            metric.update(LINES[k : k + 1])
        assert metric.compute() == pytest.approx(whole[f"slake/{rule}"])
        metric.reset()
        metric.update(LINES[3:])
        assert torch.isnan(metric.compute())  # no item of the data set


def test_accuracy_of_mau_knows_the_synonyms() -> None:
    own = {"source": "s", "category": "stone", "gold_boxes": [[0, 0, 1, 1]], "width": 2, "height": 2}
    said = [line(0, "diagnosis", "", "A calculus.", dataset="mau", **own)]
    for synonyms, value in (({}, 0.0), ({"stone": ["calculus"]}, 1.0)):
        metric = RuleMetric("mau", "accuracy", synonyms=synonyms)
        metric.update(said)
        assert metric.compute() == value


def test_processes_add_their_sums() -> None:
    one, two = RuleMetric("slake", "open_recall"), RuleMetric("slake", "open_recall")
    one.update(LINES[:1])
    two.update(LINES[1:])
    total, count = one.total + two.total, one.count + two.count
    assert total / count == pytest.approx(0.75)


def test_rules_that_need_the_whole_file_say_so() -> None:
    metric = RuleMetric("slake", "open_nearest")
    with pytest.raises(InputError, match="needs each line's choices"):
        metric.update(LINES[:1])
    metric.update([{**LINES[0], "choices": ["left lung", "liver"]}])
    assert metric.compute() == 1
    with pytest.raises(InputError, match="slake/acc is no rule of single items: choose of open_exact"):
        RuleMetric("slake", "acc")
    with pytest.raises(InputError, match="medmnist_derma/auc is no rule of single items"):
        RuleMetric("medmnist_derma", "auc")


def test_auc_is_of_all_batches() -> None:
    names = LABELS["medmnist_pneumonia"]
    golds, scores = ["normal", "pneumonia", "pneumonia", "normal"], [0.2, 0.9, 0.4, 0.6]
    lines = [
        line(k, "label", g, "", dataset="medmnist_pneumonia", scores={names[0]: 1 - s, names[1]: s})
        for k, (g, s) in enumerate(zip(golds, scores, strict=True))
    ]
    metric = AucMetric("medmnist_pneumonia")
    metric.update([LINES[0]])
    assert torch.isnan(metric.compute())  # nothing of the data set
    metric.reset()
    metric.update(lines[:1])
    assert torch.isnan(metric.compute())  # one class
    metric.reset()
    metric.update(lines[:1])
    metric.update([*lines[1:], LINES[0]])
    assert metric.compute() == pytest.approx(metrics(lines, verdicts(lines))["medmnist_pneumonia/auc"]) == 0.75
