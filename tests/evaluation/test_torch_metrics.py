"""The rules as torchmetrics modules give what the whole file gives."""

import itertools

import pytest
import torch
from answers import SCORERS, diagnose, line, parse, predict
from hypothesis import given, settings
from hypothesis import strategies as st

from umed.errors import InputError
from umed.evaluation.prediction import Prediction
from umed.evaluation.rules.labels import LABELS
from umed.evaluation.scorer import judge_all, mean_scores
from umed.evaluation.torch_metrics import AucMetric, RuleMetric
from umed.metrics import torch_metrics

PREDICTIONS = [
    predict(0, "slake", "open", "left lung", "lung"),
    predict(1, "slake", "closed", "yes", "yes"),
    predict(2, "slake", "open", "CT", "ct"),
    predict(3, "vqa_rad", "open", "CT", ""),
]


def test_scripts_find_them_under_their_old_name() -> None:
    assert torch_metrics.RuleMetric is RuleMetric and torch_metrics.AucMetric is AucMetric


def value_of(rule: str, predictions: list[Prediction]) -> float:
    dataset = predictions[0].question.dataset
    verdicts = judge_all(predictions, SCORERS)
    [value] = [s.value for s in mean_scores(SCORERS[dataset], dataset, predictions, verdicts) if s.rule == rule]
    return value


@settings(max_examples=15)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.booleans())
def test_batches_and_processes_give_the_value_of_the_file(cuts: list[int], as_lines: bool) -> None:
    """Predictions or lines of a file, in any batches; the sums of two processes add up."""
    edges = [0, *sorted(cuts), len(PREDICTIONS)]
    batches = [PREDICTIONS[a:b] for a, b in itertools.pairwise(edges)]
    for rule in ("open_exact", "open_recall", "closed_exact"):
        whole, one, two = (RuleMetric("slake", rule) for _ in range(3))
        for k, batch in enumerate(batches):
            given = [p.to_line() for p in batch] if as_lines else batch
            whole.update(given)
            (one, two)[k % 2].update(given)
        expected = value_of(rule, PREDICTIONS[:3])
        assert float(whole.compute()) == pytest.approx(expected)
        assert float((one.total + two.total) / (one.count + two.count)) == pytest.approx(expected)


def test_no_item_has_no_value() -> None:
    metric = RuleMetric("slake", "open_exact")
    metric.update(PREDICTIONS[3:])
    assert torch.isnan(metric.compute())


def test_accuracy_of_mau_knows_the_synonyms() -> None:
    for synonyms, value in (({}, 0.0), ({"cyst": ["vesicle"]}, 1.0)):
        metric = RuleMetric("mau", "accuracy", synonyms=synonyms)
        metric.update([diagnose(0, "a", "A vesicle.")])
        assert metric.compute() == value


def test_rules_that_need_the_whole_file_say_so() -> None:
    metric = RuleMetric("slake", "open_nearest")
    with pytest.raises(InputError, match="needs each line's choices"):
        metric.update(PREDICTIONS[:1])
    metric.update([{**PREDICTIONS[0].to_line(), "choices": ["left lung", "liver"]}])
    assert metric.compute() == 1
    with pytest.raises(InputError, match="slake/acc is no rule of single items: choose of open_exact"):
        RuleMetric("slake", "acc")
    with pytest.raises(InputError, match="medmnist_derma/auc is no rule of single items"):
        RuleMetric("medmnist_derma", "auc")
    with pytest.raises(InputError, match="okvqa/acc is no rule of single items: choose of none"):
        RuleMetric("okvqa", "acc")


def test_auc_is_of_all_batches() -> None:
    names, dataset = LABELS["medmnist_pneumonia"], "medmnist_pneumonia"
    golds, scores = ["normal", "pneumonia", "pneumonia", "normal"], [0.2, 0.9, 0.4, 0.6]
    lines = [line(k, dataset, "label", g, "", scores={names[0]: 1 - s, names[1]: s})
             for k, (g, s) in enumerate(zip(golds, scores, strict=True))]  # fmt: skip
    metric = AucMetric(dataset)
    metric.update(PREDICTIONS[:1])
    assert torch.isnan(metric.compute())  # nothing of the data set
    metric.update(lines[:1])
    assert torch.isnan(metric.compute())  # one class
    metric.update([*lines[1:], PREDICTIONS[0], line(9, dataset, "label", "normal", "normal")])  # the last: no scores
    assert metric.compute() == pytest.approx(value_of("auc", [parse(x) for x in lines])) == 0.75
