"""`task=compare`: two runs item by item."""

import json
from pathlib import Path

import pytest
from answers import LINES, EvaluatedRun, line, run_here, written

from umed.run_files import read_jsonl


def test_two_runs_are_compared_item_by_item(tmp_path: Path) -> None:
    other = [{**x, "output": "CT" if k == 1 else "left lung" if k == 0 else "B"} for k, x in enumerate(LINES)]
    first, second = written(tmp_path / "a.jsonl", LINES), written(tmp_path / "b.jsonl", other[::-1])
    shown = run_here(tmp_path / "o", "task=compare", f"predictions=[{first},{second}]")
    found = json.loads((tmp_path / "o" / "compare.json").read_text())
    assert found["slake/open_exact/first"] == pytest.approx(2 / 3) and found["slake/open_exact/second"] == 0
    assert found["slake/open_exact/difference"] == pytest.approx(-2 / 3)
    assert found["slake/open_exact/only_first"] == 2 and found["slake/open_exact/p"] == 0.5
    assert found["pmc_vqa/choice_letter/only_first"] == found["pmc_vqa/choice_letter/only_second"] == 1
    assert (
        "slake/open_recall/p" not in found and found["slake/open_recall/low"] <= found["slake/open_recall/difference"]
    )
    items = list(read_jsonl(tmp_path / "o" / "compare.jsonl"))
    assert [x["id"] for x in items] == [x["id"] for x in LINES]
    assert items[0]["open_exact"] == [True, False] and items[0]["output_second"] == "left lung"
    assert "McNemar p" in shown and "B: left lung" in shown


@pytest.mark.parametrize("given", ["null", "5", "[a]", "[null,b]"])
def test_two_files_are_needed(tmp_path: Path, given: str) -> None:
    assert "predictions: give two" in run_here(tmp_path, "task=compare", f"predictions={given}", fails=True)


def test_a_run_is_judged_as_a_whole_and_compared_in_part(tmp_path: Path) -> None:
    """`open_nearest` chooses from the gold answers of a file, not from those of the items that both have."""
    lines = [line(0, "slake", "open", "left lung", "lung right"), line(1, "slake", "open", "right lung", "x")]
    whole, part = written(tmp_path / "a.jsonl", lines), written(tmp_path / "b.jsonl", lines[:1])
    run_here(tmp_path / "o", "task=compare", f"predictions=[{whole},{part}]", "task.common=true")
    found = json.loads((tmp_path / "o" / "compare.json").read_text())
    assert (found["slake/open_nearest/first"], found["slake/open_nearest/second"]) == (0, 1)


def test_names_in_brackets_stay_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path / "[/v2]" / "a.jsonl", [{**x, "dataset": "phantom_slake"} for x in LINES[:3]])
    shown = run_here(tmp_path / "o", "task=compare", f"predictions=['{path}','{path}']")
    title = "".join(shown.split("┏")[0].split())
    assert title.count("[/v2]/a.jsonl") == 2 and title.endswith("(SYNTHETICpictures)")


def test_a_run_is_no_other_than_itself(evaluated: EvaluatedRun, tmp_path: Path) -> None:
    """Folders of a run; of black pictures against its own, what the two rows of the evaluation say."""
    for words in (["predictions=x"], ["predictions=[x]"], []):
        assert "give two files or folders" in run_here(tmp_path, "task=compare", *words, fails=True)
    given = f"predictions=[{evaluated.predictions},{evaluated.predictions}]"
    shown = run_here(tmp_path / "same", "task=compare", given, "task.draws=20")
    found = json.loads((tmp_path / "same" / "compare.json").read_text())
    for name, value in found.items():
        if name.endswith(("/difference", "/low", "/high", "/only_first", "/only_second")):
            assert value == 0, name
        if name.endswith("/first"):
            assert value == pytest.approx(evaluated.metrics[f"base/{name.removesuffix('/first')}"])
    assert "SYNTHETIC" in shown and "mau/iou/n" in found and "phantom_medmnist_breast/auc/first" in found
    black = evaluated.predictions / "sanity" / "mau.black.jsonl"
    run_here(tmp_path / "o", "task=compare", f"predictions=[{evaluated.predictions / 'mau.jsonl'},{black}]")
    found = json.loads((tmp_path / "o" / "compare.json").read_text())
    for rule in ("accuracy", "iou", "acc@0.5", "unparsed"):
        assert found[f"mau/{rule}/first"] == pytest.approx(evaluated.metrics[f"base/mau/{rule}"])
        assert found[f"mau/{rule}/second"] == pytest.approx(evaluated.metrics[f"base/mau/{rule}/black"])
