"""A run's answers in the paper's tables: which stages there are, and that all numbers are found again."""

from pathlib import Path

import pytest
from answers import SCORERS, EvaluatedRun, predict, written
from composed import composed

from umed.errors import InputError
from umed.evaluation.benchmarks.find import build_options
from umed.evaluation.prediction_files import read_predictions
from umed.evaluation.report import build_report, find_stages, score_stage
from umed.evaluation.score import flat_metrics, index_scores, parse_metrics


def test_stages_stand_in_the_order_of_training(tmp_path: Path) -> None:
    for stage in ("aar", "zz", "sft", "base"):
        written(tmp_path / "predictions" / stage / "slake.jsonl", [predict(0, "slake", "open", "CT", "ct")])
    (tmp_path / "predictions" / "empty").mkdir()
    assert list(find_stages(tmp_path)) == ["base", "sft", "aar", "zz"]
    assert list(find_stages(tmp_path / "predictions" / "zz")) == ["zz"]
    assert list(find_stages(tmp_path / "predictions" / "zz" / "slake.jsonl")) == ["slake"]
    (tmp_path / "other" / "predictions").mkdir(parents=True)
    with pytest.raises(InputError, match="evaluate the run first"):
        find_stages(tmp_path / "other")
    with pytest.raises(InputError, match="no predictions/ there"):
        find_stages(tmp_path / "nowhere")


def test_every_number_of_an_evaluation_is_found_again(evaluated: EvaluatedRun) -> None:
    """From its files alone: values, intervals, baselines, sampled answers, normal pictures and leaks."""
    cfg = composed("task=report")
    predictions = read_predictions(evaluated.predictions, SCORERS)
    scores = score_stage(evaluated.predictions, predictions, evaluated.folder, SCORERS, build_options(cfg), 2000)
    found = flat_metrics(scores, "base")
    # sampled answers and controls are looked up under the names of data sets
    kept = {name: value for name, value in evaluated.metrics.items() if name.startswith("base/")}
    assert found.keys() == kept.keys()
    assert all(found[name] == pytest.approx(value, abs=1e-12) for name, value in kept.items())


def test_every_cell_of_ours_is_a_score_of_the_run(evaluated: EvaluatedRun) -> None:
    tables, figure = build_report(composed("task=report", "task.draws=0"), evaluated.folder)
    names = ["mau", "mau_paper", "mau_detail", "external", "external_paper", "accuracy_by_iou"]
    assert [table.name for table in tables] == names and figure
    values = [s.value for s in index_scores(parse_metrics(evaluated.metrics, "base")).values()]
    values += [100 * value for value in values]
    for table in (table for table in tables[:5] if not table.is_published):
        rows = [row for row in table.rows if row.origin != "published"]
        assert (
            rows == table.rows
            and table.title.startswith("SYNTHETIC pictures: ")
            and all("SYNTHETIC" in row.name or row.under for row in rows)
        )
        for cell in (cell for row in rows for cell in row.cells.values()):
            assert any(cell.value == pytest.approx(value, abs=1e-9) for value in values)
            assert cell.n is not None and cell.rule and cell.split_file != "not stated"
