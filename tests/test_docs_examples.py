"""Examples of the docs: they compile, import what is there, and do what the text around them says."""

import ast
import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.utils import get_object
from pages import PAGES, fences
from PIL import Image

from umed.evaluation.benchmarks.base import check_benchmark
from umed.evaluation.benchmarks.find import find_scorers
from umed.evaluation.prediction import Prediction
from umed.evaluation.prediction_files import read_predictions

PYTHON = [(name, text) for name, page in PAGES.items() for text in fences(page, "python")]


@pytest.mark.parametrize(("page", "text"), PYTHON)
def test_every_python_example_compiles_and_imports_what_is_there(page: str, text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("umed"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names), node.module


def example(name: str) -> Any:
    """The class of that name, as the pages define it."""
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(next(text for _, text in PYTHON if f"class {name}" in text), namespace)
    return namespace[name]


def test_the_example_reward_rewards() -> None:
    reward = example("MyReward")(limit=3)
    assert reward(SimpleNamespace(texts=["a liver lesion", "a very long answer"])).tolist() == [1.0, 0.0]


def test_the_example_source_reads(tmp_path: Path) -> None:
    Image.new("L", (40, 20)).save(tmp_path / "a.png")
    (tmp_path / "findings.csv").write_text("file,patient,finding,x0,y0,x1,y1\na.png,p1,nodule,10,5,20,10\n")
    [record] = example("ClinicSource")(tmp_path, "clinic").read({})
    assert (record.category, record.group, record.source) == ("nodule", "p1", "clinic")
    assert record.boxes[0].to_xyxy(40, 20) == pytest.approx((10, 5, 20, 10))


def test_the_example_benchmark_asks_and_scores(tmp_path: Path) -> None:
    Image.new("L", (40, 20)).save(tmp_path / "a.png")
    (tmp_path / "questions.csv").write_text("id,image,question,answer\n1,a.png,Is it normal?,No\n")
    benchmark = check_benchmark("ward", example("WardQuestions")(str(tmp_path)))
    [question] = benchmark.questions()
    answers = [Prediction(question=question, output=output) for output in ("no, it is not", "yes")]
    assert benchmark.picture(question).size == (40, 20) and benchmark.splits["ward"].file == "questions.csv"
    assert [v["first_word"] for v in benchmark.scorers["ward"].judge(answers)] == [True, False]


def test_the_example_predictions_can_be_scored(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(fences(PAGES["benchmarks.md"], "json")), encoding="utf-8")
    assert len(read_predictions(path, find_scorers())) >= 3


def test_yaml_examples_name_real_classes() -> None:
    examples = "\n".join(text for page in PAGES.values() for text in fences(page, "yaml"))
    targets = re.findall(r"_target_: (\S+)", examples)
    assert targets and all(callable(get_object(target)) for target in targets)
