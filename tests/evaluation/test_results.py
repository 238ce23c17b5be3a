"""Scores of whole runs: means with intervals over pictures, by source too, and the baselines beside each value."""

import numpy as np
import pytest
from answers import SCORERS, diagnose, predict
from hypothesis import given, settings
from hypothesis import strategies as st

from umed.evaluation.baselines import answer_majority
from umed.evaluation.intervals import bootstrap_means
from umed.evaluation.prediction import Prediction
from umed.evaluation.results import name_pictures, score_predictions
from umed.evaluation.score import flat_metrics
from umed.evaluation.scorer import judge_all


def score(
    predictions: list[Prediction],
    baselines: dict[str, list[Prediction]] | None = None,
    leaked: dict[str, set[str]] | None = None,
    draws: int = 0,
) -> dict[str, float]:
    verdicts = judge_all(predictions, SCORERS)
    return flat_metrics(score_predictions(predictions, verdicts, SCORERS, baselines, leaked, draws=draws))


def silent(predictions: list[Prediction]) -> list[Prediction]:
    return [p.model_copy(update={"output": "", "boxes": None}) for p in predictions]


SLAKE = [predict(k, "slake", "open", gold, output, image=f"{k}.png") for k, (gold, output) in enumerate(
    [("left", "left"), ("left", "right"), ("right", "right")])]  # fmt: skip


def test_rows_stand_beside_the_result() -> None:
    rows = {"majority": answer_majority(SLAKE, SCORERS), "black": silent(SLAKE)}
    found = score(SLAKE, rows, {"slake": {"item 1"}}, draws=50)
    assert found["slake/open_exact"] == found["slake/open_exact/majority"] == pytest.approx(2 / 3)
    assert found["slake/open_exact/n"] == 3 and found["slake/open_nearest/candidates"] == 2
    assert found["slake/open_exact/black"] == 0 and found["slake/open_exact/disjoint"] == 1
    assert found["slake/open_exact/disjoint_n"] == 2
    assert 0 <= found["slake/open_exact/low"] <= 2 / 3 <= found["slake/open_exact/high"] <= 1
    assert not [name for name in found if name.count("/") > 2]
    assert "slake/open_exact/low" not in score(SLAKE)
    assert "slake/open_exact/disjoint" not in score(SLAKE, leaked={"slake": {"item 0", "item 1", "item 2"}})


def test_answers_with_a_thought_and_unreadable_ones_are_counted() -> None:
    """Of every data set; a choice that names no letter is unreadable too, and blanks beside choices are not counted."""
    thought, cut = "<think>Left?</think>\nleft", "<think>left"
    slake = [predict(k, "slake", "open", "left", said) for k, said in enumerate([thought, cut, "left", ""])]
    found = score([*slake, diagnose(4, "a", "A cyst.", None), diagnose(5, "a", "</think>A cyst.", [[0, 0, 5, 5]])])
    counts = {name: value for name, value in found.items() if "thought" in name or "unreadable" in name}
    assert counts == {
        "slake/thought_removed": 0.5, "slake/thought_removed/n": 4, "slake/unreadable": 0.5, "slake/unreadable/n": 4,
        "mau/thought_removed": 0.5, "mau/thought_removed/n": 2, "mau/unreadable": 0.0, "mau/unreadable/n": 2,
    }  # fmt: skip
    assert found["slake/open_exact"] == 0.5 and found["mau/accuracy"] == 1
    choices = [" A:cyst", " B:mass", " C:stone", " D:polyp"]
    said = ["<think>A</think>B", "<think>B", "A mass or a cyst"]
    chosen = [predict(k, "pmc_vqa", "choice", "B", text, choices=choices) for k, text in enumerate(said)]
    blank = [predict(3, "pmc_vqa", "blank", "mass", "", choices=choices)]
    found = score([*chosen, *blank])
    assert found["pmc_vqa/choice_letter"] == pytest.approx(1 / 3) and found["pmc_vqa/thought_removed"] == 0.5
    assert found["pmc_vqa/unreadable"] == pytest.approx(2 / 3) and found["pmc_vqa/unreadable/n"] == 3
    assert score(blank)["pmc_vqa/unreadable"] == 1


def test_chance_is_of_the_rules_that_apply() -> None:
    choices = [" A:cyst", " B:mass", " C:stone", " D:polyp"]
    choice = [predict(0, "pmc_vqa", "choice", "B", "B", choices=choices)]
    found = score(choice)
    assert {name: v for name, v in found.items() if name.endswith("/chance")} == {
        "pmc_vqa/choice_letter/chance": 0.25, "pmc_vqa/choice_nearest/chance": 0.25,
    }  # fmt: skip


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12))
def test_the_average_is_the_plain_mean_of_the_sources(items: list[tuple[str, bool, int]]) -> None:
    """Of every rule and row; an interval holds the value of its source and does not depend on other sources."""
    predictions = [
        diagnose(k, source, "A cyst." if right else "?", [[0, 0, 10, 10]] if right else None, image=f"{picture}.png")
        for k, (source, right, picture) in enumerate(items)
    ]
    found = score(predictions, {"black": silent(predictions)}, draws=30)
    sources = sorted({source for source, _, _ in items})
    for rule in SCORERS["mau"].rules:
        of_source = {s: [float(v) for source, v, _ in items if source == s] for s in sources}
        if rule == "unparsed":
            of_source = {s: [1 - v for v in values] for s, values in of_source.items()}
        means = {s: sum(values) / len(values) for s, values in of_source.items()}
        assert [found[f"mau/{rule}/{s}"] for s in sources] == pytest.approx(list(means.values()))
        assert found[f"mau/{rule}/avg"] == pytest.approx(sum(means.values()) / len(means))
        assert found[f"mau/{rule}/avg/black"] == (rule == "unparsed")
        every = [v for values in of_source.values() for v in values]
        assert found[f"mau/{rule}"] == pytest.approx(sum(every) / len(every)) and found[f"mau/{rule}/n"] == len(every)
    alone = score([p for p in predictions if p.question.part == sources[0]], draws=30)
    of_first = {n: v for n, v in found.items() if sources[0] in n.split("/") and "black" not in n}
    assert of_first == {n: v for n, v in alone.items() if sources[0] in n.split("/")}


def test_intervals_of_mau_are_by_source_over_pictures() -> None:
    rng, predictions = np.random.default_rng(3), []
    for number in range(40):
        output = "A cyst." if rng.random() < 0.4 + 0.4 * (number % 2) else ""
        predictions.append(diagnose(number, "ab"[number % 2], output, image=f"{number // 4}.png"))
    found = score(predictions, draws=300)
    drawn = []
    for seed, source in enumerate("ab"):
        part = [p for p in predictions if p.question.part == source]
        right = np.array([[float(p.output == "A cyst.")] for p in part])
        drawn.append(bootstrap_means(right, [str(p.question.image) for p in part], 300, seed))
        expected = np.quantile(drawn[-1], [0.025, 0.975])
        assert [found[f"mau/accuracy/{source}/{end}"] for end in ("low", "high")] == pytest.approx(list(expected))
    expected = np.quantile((drawn[0] + drawn[1]) / 2, [0.025, 0.975])
    assert [found[f"mau/accuracy/avg/{end}"] for end in ("low", "high")] == pytest.approx(list(expected))


def test_a_constant_answer_has_no_boxes_to_judge() -> None:
    one = [diagnose(0, "a", "A cyst.")]
    found = score(one, {"majority": answer_majority(one, SCORERS), "black": silent(one)})
    assert found["mau/accuracy/majority"] == 1 and found["mau/iou/black"] == 0
    assert not [n for n in found if n.endswith("majority") and "accuracy" not in n]


def test_items_of_one_picture_are_drawn_together() -> None:
    named = [diagnose(0, "a", "", image="x.png"), diagnose(1, "b", "", image="x.png"), diagnose(2, "b", "", image="")]
    names = name_pictures([*named, *SLAKE[:1]])
    assert len(set(names)) == 4 and name_pictures(named[:1]) == name_pictures(named[:1])
    one_picture = [p.model_copy(update={"question": p.question.model_copy(update={"image": "x"})}) for p in SLAKE]
    assert "slake/open_exact/low" not in score(one_picture, draws=20)  # one picture says nothing of the spread
