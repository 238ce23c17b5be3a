"""The rules of VQA-RAD and SLAKE on the published vectors and on every quirk."""

# ruff: noqa: RUF001

import pytest

from umed.evaluation.rules.short_answers import closed_contains, closed_exact, open_exact, open_recall, open_recall75


@pytest.mark.parametrize(
    ("output", "gold", "recall", "contains"),
    [
        ("The lesion is in the left lung.", "left lung", 1, True),
        ("lung lung", "left lung", 2 / 3, False),
        ("lung lung lung lung", "left lung", 4 / 5, False),  # a right word counts as often as it is said
        ("left lung", "left lung, right lung", 2 / 3, False),
        ("right, left", "left, right", 1, False),
        ("upper lobe", "right upper lobe", 2 / 3, False),
        ("right upper lobe of the lung", "right upper lobe", 1, True),
        ("3cm", "3 cm", 0, False),
        ("two", "2", 1, True),
        ("none", "0", 1, True),
        ("1,5 cm (mass)", "mass", 1, True),
        ("T2-weighted", "t2 weighted", 1, True),
        ("T2-weighted image - axial", "t2 weighted", 0, False),
        ("x.y", "xy", 1, True),
        ("0.5 cm.", "0.5 cm", 1, True),
        ("", "left lung", 0, False),
        ("lung", "", 0, False),
        ("the", "a", 0, False),
        ("Normal", "no", 0, True),  # known weakness of the rule
        ("not seen", "no", 0, True),
        ("Yes.", "Yes", 1, True),
        ("It is on the left", "left", 1, True),
        ("None", "None", 1, True),
    ],
)
def test_the_rules_of_the_public_harnesses(output: str, gold: str, recall: float, contains: bool) -> None:
    assert open_recall(output, gold) == pytest.approx(recall)
    assert open_recall75(output, gold) == (recall >= 0.75)
    assert closed_contains(output, gold) == contains


# golds of closed questions in SLAKE's Chinese part
CLOSED = ("是的", "不是", "没有", "不可以", "X光", "右侧")
LISTS = (
    "发热，乏力，头痛", "头痛，发热，乏力", "头痛、发热、乏力。",
    "头痛、发热，乏力", "（发热， 乏力， 头痛）", "发热﹐乏力､头痛｡",
)  # fmt: skip


@pytest.mark.parametrize(
    ("output", "gold", "right"),
    [
        ("Left Lung.", "left lung", True),
        ("the left lung", "Left lung", True),
        ("left lung and liver", "left lung", False),
        ("right, left", "left, right", True),
        ("left,right", "left, right", True),
        ("left, left", "left, right", False),
        ("left, left, right", "left, right", False),
        ("left", "left, right", False),
        ("3cm", "3 cm", True),
        ("1,5cm", "1,5 cm", True),
        ("two", "2", True),
        ("Spinal cord", "Spinal Cord", True),
        ("", "left", False),
        ("", "the", False),
        ("the", "a", False),
        ("left, right,", "left, right", True),
        ("Left， right", "left, right", True),
        *((t, "发热,乏力,头痛", True) for t in LISTS),
        *(("发热,乏力,头痛", t, True) for t in LISTS),
        ("发热，乏力", "发热,乏力,头痛", False),
        ("右肺。", "右肺", True),
        ("右肺", "左肺", False),
        ("肺的右侧", "肺右侧", False),  # words are not translated or reordered
        (",", ",", False),
    ],
)
def test_open_exact(output: str, gold: str, right: bool) -> None:
    assert open_exact(output, gold) is right


@pytest.mark.parametrize(
    ("output", "gold", "right"),
    [
        ("Yes.", "yes", True),
        ("Yes", "Yes ", True),
        ("no", "No", True),
        ("Normal", "no", False),
        ("no, it is not", "no", False),
        ("right, left", "left, right", False),
        ("", "", False),
        *((f"{gold}{mark}", gold, True) for gold in CLOSED for mark in ("", "。", "！", ".", "．")),
        *((f"{a}{gold}{b}", gold, True) for gold in CLOSED for a, b in ("（）", "“”", "「」")),
        ("是", "是的", False),  # another word
        ("没有", "不是", False),
        ("不是", "是", False),
    ],
)
def test_closed_exact(output: str, gold: str, right: bool) -> None:
    assert closed_exact(output, gold) is right
