"""Tables on the terminal: what is synthetic is called so, and a value stands beside what it must beat."""

import pytest

from umed.evaluation.score import Score
from umed.evaluation.tables import print_rules, print_stages

SFT = [
    Score("mau", "accuracy", 0.375, n=3, low=0.25, high=0.5),
    Score("mau", "accuracy", 0.125, row="black"),
    Score("mau", "accuracy", 0.5, "kvasir", n=2),
    Score("mau", "accuracy", 0.25, "avg", n=3),
    Score("slake", "open_exact", 1.0, n=4),
]
AAR = [Score("mau", "accuracy", 1.0, "kvasir", n=2)]


def cells(shown: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("│")[1:-1]] for row in shown.splitlines() if row.startswith("│")]


def test_a_table_of_real_pictures_has_no_mark(capsys: pytest.CaptureFixture[str]) -> None:
    print_stages({"sft": SFT, "aar": AAR}, "MAU [x]")
    shown = capsys.readouterr().out
    assert "MAU [x]" in shown and "SYNTHETIC" not in shown and "black" not in shown
    assert cells(shown) == [
        ["sft", "0.50 / -", "0.25 / -", "-", "-", "-"],
        ["aar", "1.00 / -", "- / -", "-", "-", "-"],
    ]
    print_rules(SFT, "MAU", "sft")
    shown = capsys.readouterr().out
    assert "SYNTHETIC" not in shown and "question" not in shown and "majority" not in shown
    assert cells(shown) == [
        ["sft", "mau", "accuracy", "0.375", "0.250 - 0.500", "3", "0.125"],
        ["sft", "slake", "open_exact", "1.000", "-", "4", "-"],
    ]


def test_counts_that_are_0_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    counted = [Score("slake", "thought_removed", 0.0, n=4), Score("slake", "unreadable", 0.25, n=4)]
    print_rules([*counted, Score("slake", "open_exact", 0.0, n=4)], "slake")
    assert [row[1] for row in cells(capsys.readouterr().out)] == ["unreadable", "open_exact"]


def test_drawn_pictures_are_called_synthetic(capsys: pytest.CaptureFixture[str]) -> None:
    parts, rules = ("phantom_kvasir", "avg"), ("accuracy", "iou", "unparsed")
    drawn = [Score("mau", "accuracy", 0.5, n=2), *(Score("mau", rule, 0.5, part) for rule in rules for part in parts)]
    drawn += [Score("mau", "accuracy", 0.25, "avg", row) for row in ("majority", "black", "shuffled")]
    drawn += [Score("mau", "iou_sampled", 0.75, "avg"), Score("mau", "accuracy_sampled", 0.25, "avg")]
    drawn += [Score("mau", "attention", 0.125, "avg")]
    print_stages({"base": drawn}, "MAU")
    shown = capsys.readouterr().out
    assert "MAU (SYNTHETIC pictures): accuracy / IoU" in shown and " kvasir " in shown
    assert cells(shown) == [
        ["base", "0.50 / 0.50", "0.50 / 0.50", "0.25 / 0.75", "0.12", "0.50"],
        ["majority", "- / -", "0.25 / -", "-", "-", "-"],
        ["black picture", "- / -", "0.25 / -", "-", "-", "-"],
        ["another picture", "- / -", "0.25 / -", "-", "-", "-"],
    ]
    print_rules(drawn, "MAU")
    shown = capsys.readouterr().out
    assert "(phantom_: SYNTHETIC pictures)" in shown and cells(shown)[0][:2] == ["mau (SYNTHETIC)", "accuracy"]
    print_rules([Score("phantom_slake", "open_exact", 0.5, n=2)], "x")
    assert "SYNTHETIC" in capsys.readouterr().out
