"""The paper's tables: which score stands in which column, and what a cell carries."""

from answers import SCORERS, diagnose, predict

from umed.evaluation.paper_tables import (
    build_detail_table,
    build_external_table,
    build_iou_table,
    build_mau_table,
)
from umed.evaluation.prediction import Prediction
from umed.evaluation.results import score_predictions
from umed.evaluation.score import Score
from umed.evaluation.scorer import judge_all


def score(*predictions: Prediction) -> list[Score]:
    return score_predictions(predictions, judge_all(predictions, SCORERS), SCORERS, draws=0)


def test_a_source_and_its_stand_in_have_a_column_each() -> None:
    scores = score(diagnose(0, "kvasir", ""), diagnose(1, "phantom_kvasir", "A cyst."))
    table = build_mau_table({"base": scores}, [])
    [accuracy] = [row for row in table.rows if row.name.endswith("accuracy")]
    assert {key: cell.value for key, cell in accuracy.cells.items()} == {"kvasir": 0, "phantom_kvasir": 1, "avg": 0.5}
    assert accuracy.name == "base (SYNTHETIC), accuracy"
    alone = build_mau_table({"base": score(diagnose(1, "phantom_kvasir", "A cyst."))}, [])
    assert alone.rows[0].cells.keys() == {"kvasir", "avg"}  # a stand-in takes the column of its source
    assert list(alone.columns) == ["deeplesion", "kidney_stone", "kvasir", "nih_chest", "tbx11k", "avg"]
    mine = build_mau_table({"base": score(diagnose(1, "mine", "A cyst."))}, [{"row": "X", "kvasir": 0.5}])
    assert mine.columns["mine"] == "mine" and "SYNTHETIC" not in mine.rows[1].name
    assert (mine.rows[0].name, mine.rows[0].cells["kvasir"].value) == ("X (paper)", 0.5)


def test_columns_are_those_of_the_scorers_in_the_published_order() -> None:
    published = [{"row": "X", "slake/open": 90.4, "vqa_rad/closed": 1}]
    scores = score(predict(0, "slake", "open", "CT", "ct"), predict(1, "phantom_slake", "closed", "no", "normal"))
    table = build_external_table({"s": scores}, {"s": {"slake": "test.json"}}, published, SCORERS)
    assert list(table.columns)[:4] == ["slake/open", "slake/closed", "vqa_rad/open", "vqa_rad/closed"]
    assert set(table.columns) == {f"{d}/{c.name}" for d, s in SCORERS.items() for c in s.columns}
    rows = {row.name: row for row in table.rows}
    assert list(rows) == ["X (paper)", "s, nearest rules", "s, strict rules", "s (SYNTHETIC), nearest rules",
                          "s (SYNTHETIC), strict rules"]  # fmt: skip
    own = rows["s, strict rules"].cells["slake/open"]
    assert (own.value, own.rule, own.split_file, own.n) == (100, "open_exact", "test.json", 1)
    nearest, strict = (rows[f"s (SYNTHETIC), {w} rules"].cells["slake/closed"] for w in ("nearest", "strict"))
    assert (nearest.value, nearest.rule, strict.value) == (100, "closed_contains", 0)
    assert nearest.split_file == "not stated" and "1 (slake)" in table.notes[-1]


def test_details_and_bins_without_answers_are_empty() -> None:
    assert build_detail_table({"s": []}).rows == [] and build_mau_table({"s": []}, []).rows == []
    table = build_iou_table({"s": [(2, 1), (0, 0)]}, [0, 0.5, 1], "SYNTHETIC: ")
    assert {key: (cell.value, cell.n) for key, cell in table.rows[0].cells.items()} == {"0.0 to 0.5": (0.5, 2)}
    assert table.title.startswith("SYNTHETIC: ") and list(table.columns) == ["0.0 to 0.5", "0.5 to 1.0"]
    controls = [Score("mau", "false_boxes", 0.5, "avg", n=4)]
    cell = build_detail_table({"s": controls}).rows[0].cells["false_boxes"]
    assert (cell.rule, cell.split_file, cell.n) == ("false_boxes/avg", "controls.jsonl", 4)
