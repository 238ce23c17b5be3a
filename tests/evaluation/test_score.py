"""Flat names in `metrics.json`: what is written is read back, and belongs to one stage."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from umed.evaluation.score import BASELINES, CANDIDATES, Score, flat_metrics, index_scores, parse_metrics, read_scores
from umed.run_files import update_metrics

NAME = st.text("ab@.5_-", min_size=1, max_size=4)

VALUE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def scores(draw: st.DrawFn) -> list[Score]:
    """Those that a file keeps: n of values of all items together, and of the row `disjoint`."""
    made: list[Score] = []
    for _ in range(draw(st.integers(0, 6))):
        part, row = draw(st.just("") | NAME), draw(st.sampled_from(["", *BASELINES, CANDIDATES]))
        own: dict[str, Any] = {"slice": part, "row": row}
        if draw(st.booleans()):
            own |= {"low": draw(VALUE), "high": draw(VALUE)}
        if not part and row in ("", "disjoint") and draw(st.booleans()):
            own["n"] = draw(st.integers(1, 10**6))
        made.append(Score(draw(NAME), draw(NAME), draw(VALUE), **own))
    return list(index_scores(made).values())


@given(scores(), scores())
def test_scores_are_read_back_from_their_flat_names(of_stage: list[Score], of_other: list[Score]) -> None:
    metrics = {**flat_metrics(of_other, "sft"), **flat_metrics(of_stage, "base"), "loss": 1.0, "prepare/a/kept": 3}
    assert parse_metrics(metrics, "base") == of_stage and parse_metrics(metrics, "sft") == of_other
    assert parse_metrics(flat_metrics(of_stage)) == of_stage  # `score` writes no stage


def test_a_name_says_stage_data_set_rule_slice_and_row() -> None:
    written = flat_metrics(
        [
            Score("mau", "iou", 0.5, n=4, low=0.25, high=0.75),
            Score("mau", "iou", 0.5, "kvasir", n=2),
            Score("mau", "iou", 0.0, "kvasir", "black"),
            Score("slake", "open_exact", 1.0, row="disjoint", n=3),
            Score("slake", "open_nearest", 9, row=CANDIDATES),
        ],
        "aar",
    )
    assert written == {
        "aar/mau/iou": 0.5, "aar/mau/iou/low": 0.25, "aar/mau/iou/high": 0.75, "aar/mau/iou/n": 4,
        "aar/mau/iou/kvasir": 0.5, "aar/mau/iou/kvasir/black": 0.0,
        "aar/slake/open_exact/disjoint": 1.0, "aar/slake/open_exact/disjoint_n": 3,
        "aar/slake/open_nearest/candidates": 9,
    }  # fmt: skip
    assert list(written)[:4] == ["aar/mau/iou", "aar/mau/iou/low", "aar/mau/iou/high", "aar/mau/iou/n"]


def test_a_stage_that_was_not_evaluated_has_no_scores(tmp_path: Path) -> None:
    assert read_scores(tmp_path, "base") == []
    score = Score("mau", "iou", 0.5, n=4)
    update_metrics(tmp_path / "metrics.json", flat_metrics([score], "base"))
    assert read_scores(tmp_path, "base") == [score] and read_scores(tmp_path, "aar") == []
