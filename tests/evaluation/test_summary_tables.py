"""The two tables that a pipeline ends in."""

import pytest
from answers import SCORERS

from umed.evaluation.score import Score
from umed.evaluation.summary_tables import print_benchmarks, print_summary


def cells(shown: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("│")[1:-1]] for row in shown.splitlines() if row.startswith("│")]


def test_a_stage_is_a_row_with_intervals_and_its_credit(capsys: pytest.CaptureFixture[str]) -> None:
    sft = [Score("mau", "accuracy", 0.5, "avg", low=0.25, high=0.75), Score("mau", "iou", 0.5, "phantom_kvasir")]
    aar = [Score("mau", "accuracy", 0.75, "avg"), Score("mau", "false_boxes", 0.1, "avg", low=0.0, high=0.2)]
    aar.append(Score("mau", "accuracy", 0.3, "avg", "black"))
    print_summary({"sft": sft, "aar": aar}, {"aar": "group, span, differentiable"}, "MAU [x]")
    shown = capsys.readouterr().out
    assert "MAU [x] (SYNTHETIC pictures)" in shown and "normal with" in shown and "attention" not in shown
    assert cells(shown)[-3:] == [
        ["sft", "0.50 [0.25, 0.75]", "-", ""],
        ["aar", "0.75", "0.10 [0.00, 0.20]", "group, span, differentiable"],
        ["black picture", "0.30", "-", ""],
    ]


def test_benchmarks_stand_in_the_papers_order_beside_what_they_must_beat(capsys: pytest.CaptureFixture[str]) -> None:
    base = [
        Score("phantom_medmnist_derma", "acc", 0.25, low=0.125, high=0.5, n=8),
        Score("phantom_medmnist_derma", "acc", 1 / 7, row="chance"),
        Score("phantom_slake", "open_nearest", 0.5, n=4),
    ]
    last = [*base[:1], Score("phantom_slake", "open_nearest", 1.0, n=4)]
    last.append(Score("phantom_slake", "open_nearest", 5, row="candidates"))
    last.append(Score("phantom_slake", "open_nearest", 0.75, row="majority"))
    print_benchmarks(base, last, SCORERS, "aar", "Benchmarks")
    assert cells(capsys.readouterr().out) == [
        ["SLAKE open (SYNTHETIC)", "open_nearest", "0.20", "0.75", "4", "0.50", "1.00"],
        ["Derma ACC (SYNTHETIC)", "acc", "0.14", "-", "8", "0.25 [0.12, 0.50]", "0.25 [0.12, 0.50]"],
    ]
    print_benchmarks([], [], SCORERS, "aar", "Benchmarks")
    assert not capsys.readouterr().out
