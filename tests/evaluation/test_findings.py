"""What was found in a run, in two sentences; examples and curves that need no model."""

from dataclasses import replace
from pathlib import Path

import pytest
from answers import diagnose, written
from PIL import Image

from tests.conftest import make_record
from umed.errors import InputError
from umed.evaluation.findings import describe_findings
from umed.evaluation.report_figures import draw_curves_of, find_examples, find_unfinished, read_config, take_turns
from umed.run_files import write_jsonl, write_roots

BOX = [[0, 0, 10, 10]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Eight records of two sources; sft names half of them, aar all, with the same boxes."""
    records = [replace(make_record(k, 20, 20), source="ab"[k % 2], split="test") for k in range(8)]
    write_jsonl(tmp_path / "records.jsonl", (r.to_json() for r in records))
    write_roots(tmp_path, {"a": tmp_path, "b": tmp_path})
    for record in records:
        Image.new("L", (20, 20), 90).save(tmp_path / record.image)
    for stage, count in {"sft": 4, "aar": 8}.items():
        answers = [diagnose(k, r.source, "A cyst." if k < count else "", BOX, id=r.id) for k, r in enumerate(records)]
        written(tmp_path / "predictions" / stage / "mau.jsonl", answers)
    return tmp_path


def test_two_sentences(run: Path) -> None:
    first, second = describe_findings(run, ["sft", "aar"], "SYNTHETIC pictures: ")
    assert first == "SYNTHETIC pictures: On 8 test items, accuracy / IoU are 0.50 / 1.00 (sft) and 1.00 / 1.00 (aar)."
    assert second.startswith("Compared with sft aar is better in accuracy (+0.50 [+")
    assert second.endswith("it does not differ beyond chance in IoU (+0.00 [+0.00, +0.00]).")
    assert len(describe_findings(run, ["sft"], "")) == 1 and describe_findings(run, ["base"], "") == []


def test_the_same_pictures_after_each_stage(run: Path) -> None:
    examples = find_examples(run, ["sft", "aar"], count=3)
    assert [example.name for example in examples] == ["a: stone", "b: cyst", "a: lung nodule"]
    assert [(stage, text) for stage, _, text in examples[0].answers] == [
        ("sft", "A cyst. [right, IoU 1.00]"),
        ("aar", "A cyst. [right, IoU 1.00]"),
    ]
    (run / "0.png").unlink()
    assert find_examples(run, ["sft"]) == [], "no pictures at hand: no examples"
    assert [r.id[-1] for r in take_turns([make_record(k, 9, 9) for k in range(3)])] == ["0", "1", "2"]


def test_curves_are_of_stages_with_rewards(run: Path) -> None:
    for stage, column in {"sft": "sft/loss", "aar": "reward/total"}.items():
        (run / "logs" / stage).mkdir(parents=True)
        (run / "logs" / stage / "metrics.csv").write_text(f"step,{column}\n0,1\n1,2\n")
    assert list(draw_curves_of(run, ["base", "sft", "aar"], "")) == ["aar"]
    (run / "logs" / "aar" / "metrics.csv").write_text("")
    with pytest.raises(InputError, match="metrics.csv: not readable"):
        draw_curves_of(run, ["aar"], "")


def test_a_run_without_a_config_is_not_called_unfinished(run: Path) -> None:
    assert find_unfinished(run, ["aar"]) == "" and read_config(run) == {}
