"""`task=report`: a run's numbers, computed again from its answers, beside the paper's, in every form."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from answers import SCORERS, diagnose, predict, run_here, written
from composed import composed
from PIL import Image

from umed.evaluation.prediction import Prediction
from umed.evaluation.results import score_predictions
from umed.evaluation.score import flat_metrics
from umed.evaluation.scorer import judge_all
from umed.tasks.report import report

BENIGN = ["malignant", "normal, benign"]


MAU = [
    diagnose(k, source, output, boxes, categories=["cyst", "stone"])
    for k, (source, output, boxes) in enumerate(
        [
            ("phantom_kvasir", "A cyst.", [[0, 0, 10, 10]]),
            ("phantom_kvasir", "A stone.", [[0, 0, 10, 5]]),
            ("phantom_kvasir", "A cyst.", None),
            ("phantom_tbx11k", "A cyst.", [[15, 15, 20, 20]]),
        ]
    )
]
SLAKE = [
    predict(10, "slake", "open", "CT", "ct"),
    predict(11, "slake", "open", "MR", "an MRI of the chest", image="other.jpg"),
    predict(12, "slake", "closed", "no", "normal"),
]
BREAST = [
    predict(20 + k, "medmnist_breast", "label", BENIGN[k % 2], BENIGN[0], choices=BENIGN,
            scores={BENIGN[0]: 0.9 - 0.2 * k, BENIGN[1]: 0.1 + 0.2 * k})
    for k in range(4)
]  # fmt: skip


def changed(predictions: list[Prediction], **fields: Any) -> list[dict[str, Any]]:
    return [{**p.to_line(), **fields} for p in predictions]


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run folder with two stages."""
    for stage in ("aar", "base"):
        folder = tmp_path / "run" / "predictions" / stage
        written(folder / "mau.jsonl", MAU)
        written(folder / "sanity" / "mau.black.jsonl", changed(MAU, output="", boxes=None))
        written(folder / "mau_sampled.jsonl", MAU[:1] * 3)
        written(folder / "slake.jsonl", changed(SLAKE, output="?", split_file="old.json") if stage == "base" else SLAKE)
        written(folder / "medmnist_breast.jsonl", BREAST)
        written(folder / "sanity" / "slake.majority.jsonl", changed(SLAKE, output="CT"))
        normal = changed(MAU[:2], dataset="mau_controls", answer="", gold_boxes=[])
        written(folder / "sanity" / "mau.controls.jsonl", normal)
    found = {"pictures": 3, "items": 3, "own_train": {"pictures": 1, "items": 2}}
    (tmp_path / "run" / "leaks.json").write_text(json.dumps({"slake": found}))
    leak = {"dataset": "slake", "id": "item 10", "image": "5.jpg", "where": "own_train", "found": "train 1"}
    written(tmp_path / "run" / "leaks.jsonl", [leak])
    return tmp_path / "run"


def test_a_run_stands_in_the_papers_tables_in_every_form(finished: Path, tmp_path: Path) -> None:
    shown = run_here(tmp_path / "out", "task=report", f"predictions={finished}", "task.draws=50")
    out = tmp_path / "out" / "report"
    text = (out / "table.txt").read_text()
    assert text in shown and all(
        x.rstrip()[-1] in "│┃┓┩┘┤" for x in text.splitlines() if x and x[0] in "│┃┏┡└├"
    )  # whole
    cells = {
        (c["table"], c["row"], c["column"]): c for c in csv.DictReader((out / "table.csv").read_text().splitlines())
    }

    own = cells["external", "aar, nearest rules", "SLAKE open"]
    expected = flat_metrics(score_predictions(SLAKE, judge_all(SLAKE, SCORERS), SCORERS, draws=50))
    assert float(own["value"]) == 100 * expected["slake/open_nearest"]
    assert float(own["low"]) == 100 * expected["slake/open_nearest/low"]
    assert (own["rule"], own["split_file"], own["n"], own["origin"]) == ("open_nearest", "test.json", "2", "ours")
    assert float(cells["external", "aar, strict rules", "SLAKE open"]["value"]) == 50
    assert float(cells["external", "base, strict rules", "SLAKE open"]["value"]) == 0
    assert float(cells["external", "aar, strict rules", "SLAKE closed"]["value"]) == 0
    assert float(cells["external", "aar, nearest rules", "SLAKE closed"]["value"]) == 100  # "no" is inside "normal"
    assert float(cells["external", "aar, strict rules: majority", "SLAKE open"]["value"]) == 50
    assert float(cells["external", "aar, strict rules: disjoint", "SLAKE open"]["value"]) == 0
    assert float(cells["external", "aar, nearest rules", "Breast ACC"]["value"]) == 75
    assert float(cells["external", "aar, nearest rules", "Breast AUC"]["value"]) == 75
    paper = cells["external", "UMed-LVLM (paper)", "SLAKE open"]
    assert (paper["value"], paper["rule"], paper["n"], paper["origin"]) == ("90.4", "not stated", "", "published")

    kvasir = cells["mau", "aar (SYNTHETIC), accuracy", "KVASIR"]
    assert float(kvasir["value"]) == pytest.approx(2 / 3) and kvasir["n"] == "3"
    assert float(cells["mau", "aar (SYNTHETIC), iou", "KVASIR"]["value"]) == pytest.approx(0.5)
    assert float(cells["mau", "aar (SYNTHETIC), accuracy", "Avg"]["value"]) == pytest.approx(5 / 6)
    assert float(cells["mau_detail", "aar (SYNTHETIC)", "normal pictures called abnormal"]["value"]) == 1
    assert float(cells["mau_detail", "aar (SYNTHETIC)", "unparsed"]["value"]) == pytest.approx(1 / 6)
    assert cells["external", "base, strict rules", "SLAKE open"]["split_file"] == "old.json"  # of its own stage
    assert cells["external", "aar, strict rules: disjoint", "SLAKE open"]["n"] == "1"
    assert "open_nearest chooses from so many gold answers: 2 (slake)" in shown
    accuracy = "aar (SYNTHETIC), accuracy"
    for column, value in (("KVASIR", 1.0), ("TBX11K", 1.0), ("Avg", 1.0)):
        assert float(cells["mau", f"{accuracy}: majority", column]["value"]) == value
        assert float(cells["mau", f"{accuracy}: black", column]["value"]) == 0
    assert ("mau", "aar (SYNTHETIC), iou: majority", "Avg") not in cells  # a constant answer says no box
    assert 0 <= float(kvasir["low"]) <= 2 / 3 <= float(kvasir["high"]) <= 1
    several = cells["mau_detail", "aar (SYNTHETIC)", "without single-class sources"]
    assert several["n"] == "4" and cells["mau_detail", "aar (SYNTHETIC)", "IoU of sampled answers"]["n"] == "3"
    # pictures that a program drew stand in no table of the paper's
    assert shown.index("base (SYNTHETIC), accuracy") < shown.index("aar (SYN") < shown.index("UMed-LVLM (paper)")
    assert cells["mau_paper", "UMed-LVLM (paper)", "Avg"]["value"] == "0.75"

    by_iou = {c: cells["accuracy_by_iou", "aar", c] for c in ("0.0 to 0.1", "0.5 to 0.6", "0.9 to 1.0")}
    assert [(c["value"], c["n"]) for c in by_iou.values()] == [("1.0", "2"), ("0.0", "1"), ("1.0", "1")]
    with Image.open(out / "accuracy_by_iou.png") as picture:
        assert picture.width > 400
    tex = (out / "table.tex").read_text()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 5
    for table in tex.split(r"\end{table}")[:-1]:
        columns = len(re.findall(r"\\begin\{tabular\}\{l(r+)\}", table)[0])
        rows = [r for r in table.split("\n") if r.endswith(r"\\") and not r.startswith(r"\\")]
        assert len(rows) > 2 and all(len(re.findall(r"(?<!\\)&", r)) == columns for r in rows)
    html = (out / "report.html").read_text()
    assert "1 of 3 test pictures (2 of 3 items) are in own_train" in html and '<meta name="viewport"' in html
    assert "without_vrr" not in html and "not finished" not in html
    assert "open_nearest, test.json, n = 2, 95 %:" in html and "data:image/png;base64," in html
    assert not re.findall(r'(?:src|href)="(?!data:)', html)  # needs nothing from elsewhere
    offline = next((tmp_path / "out" / "wandb").glob("offline-run-*"))
    tables = [p.name for p in offline.rglob("*.table.json")]
    assert sum("external" in name for name in tables) == 1


def test_a_single_file_has_a_majority_row_and_every_split_file(tmp_path: Path) -> None:
    name = tmp_path / "[b]x _&%.jsonl"
    written(name, [SLAKE[0], *changed(SLAKE[1:2], split_file="other.json"), SLAKE[2]])
    shown = run_here(tmp_path / "out", "task=report", f"predictions='{name}'", "task.draws=0", "logger=csv")
    rows = list(csv.DictReader((tmp_path / "out" / "report" / "table.csv").read_text().splitlines()))
    assert "[b]x _&%, strict rules" in shown and "open_exact, test.json and other.json: n = 2" in shown
    assert any(row["row"].endswith("strict rules: majority") for row in rows)
    tex = (tmp_path / "out" / "report" / "table.tex").read_text()
    assert r"{[}b{]}x \_\&\%, strict rules &" in tex


def test_a_run_that_was_stopped_is_reported_and_says_so(finished: Path, tmp_path: Path, capsys: Any) -> None:
    (finished / ".hydra").mkdir()
    task = "{_target_: umed.tasks.pipeline.pipeline, sft_continued: true, stages: [ppo, aar]}"
    (finished / ".hydra" / "config.yaml").write_text(f"{{task: {task}, model: {{path: x}}, seed: 3}}")
    cfg = composed(
        "task=report", f"predictions={finished}", "task.draws=0", "logger=csv", f"paths.run_dir={tmp_path}/out"
    )
    report(cfg)
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "no answers of sft, sft_continued, ppo yet: python run.py resume=" in line
    assert "no answers of sft, sft_continued, ppo yet" in (tmp_path / "out" / "report" / "report.html").read_text()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (".hydra/config.yaml", "model: {path: [x"),
        ("leaks.json", '{"slake": {'),
        ("predictions/base/splits.json", "[1]"),
        ("predictions/base/sanity/mau.controls.jsonl", "{}\n"),
        ("predictions/aar/mau_sampled.jsonl", '{"id": "1", "output": ""}\n'),
    ],
)
def test_a_damaged_file_of_a_run_is_told(finished: Path, tmp_path: Path, file: str, content: str) -> None:
    (finished / file).parent.mkdir(exist_ok=True)
    (finished / file).write_text(content)
    words = ["task=report", f"predictions={finished}", "task.draws=0", "logger=csv"]
    assert file in run_here(tmp_path / "out", *words, fails=True)


def test_without_answers_there_is_one_line(tmp_path: Path) -> None:
    assert "no predictions/ there" in run_here(tmp_path / "out", "task=report", f"predictions={tmp_path}", fails=True)
    assert "predictions is not set" in run_here(tmp_path / "out", "task=report", fails=True)
    assert not (tmp_path / "out" / "report").exists()
