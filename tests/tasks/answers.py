"""Predictions, commands as users type them, and a run folder that the embedded model answered."""

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from composed import composed
from disk_examples import example_of
from hydra.utils import get_class
from omegaconf import OmegaConf

from umed import tasks
from umed.evaluation.benchmarks.base import Example
from umed.evaluation.benchmarks.find import find_scorers
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import without_stand_in
from umed.run_files import read_jsonl, read_metrics
from umed.synthetic.benchmarks import PhantomBenchmarks

ROOT = Path(__file__).parents[2]
SCORERS = find_scorers()
ITEMS, AT_MOST = 5, 8
SMALL = ["data.source.phantom.num_images=16", f"data.benchmark.phantom.num_items={ITEMS}", "logger=csv",
         "data.evaluate.samples=1", f"data.evaluate.at_most={AT_MOST}", "data.evaluate.batch_size=64",
         "method.max_new_tokens=12"]  # fmt: skip


@dataclass
class EvaluatedRun:
    """The run folder of `task=evaluate`, the data that it was asked of, and what it printed."""

    folder: Path
    data: Path
    shown: str

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions" / "base"

    def lines(self, name: str) -> list[dict[str, Any]]:
        return list(read_jsonl(self.predictions / f"{name}.jsonl"))

    @cached_property
    def metrics(self) -> dict[str, float]:
        return read_metrics(self.folder)

    @cached_property
    def drawn(self) -> PhantomBenchmarks:
        return PhantomBenchmarks(str(self.data / "phantom_benchmarks"), num_items=ITEMS)


def evaluate_embedded(root: Path, *overrides: str, data: Path | None = None) -> EvaluatedRun:
    """MAU and the six stand-ins, answered by the embedded model."""
    data = data or root / "data"
    small = [word for word in SMALL if "data/benchmark=[]" not in overrides or "data.benchmark" not in word]
    shown = run_here(root / "run", "task=evaluate", *small, f"paths.data={data}", *overrides)
    return EvaluatedRun(root / "run", data, shown)


def line(number: int, dataset: str, kind: str, answer: Any, output: str, **more: Any) -> dict:
    base = {"id": f"item {number}", "dataset": dataset, "split_file": "test.json", "question": "What?"}
    own = {"answer": answer, "answer_type": kind, "output": output, "image": f"{number // 2}.jpg"}
    return {**base, **own, "choices": None, "boxes": None, "scores": None, **more}


CHOICES = [" A:cyst", " B:mass", " C:stone", " D:polyp"]
LINES = [
    line(0, "slake", "open", "CT", "ct."),
    line(1, "slake", "open", "left lung", "lung lung"),
    line(2, "slake", "closed", "No", "normal"),
    line(3, "pmc_vqa", "choice", "B", "I do not know", choices=CHOICES),
    line(4, "pmc_vqa", "choice", "C", "C", choices=CHOICES),
    line(5, "slake", "open", 2, "two"),
]


def parse(line: Mapping[str, Any]) -> Prediction:
    """The prediction of a line, as its data set's scorer reads it."""
    return Prediction.from_line(line, SCORERS[without_stand_in(line["dataset"])].question_type)


def predict(number: int, dataset: str, kind: str, answer: Any, output: str, **more: Any) -> Prediction:
    return parse(line(number, dataset, kind, answer, output, **more))


def diagnose(number: int, source: str, output: str, boxes: Any = None, **more: Any) -> Prediction:
    """An answer about a cyst in the upper left quarter of a picture of 20 x 20 pixels."""
    gold = {"source": source, "category": "cyst", "gold_boxes": [[0, 0, 10, 10]], "width": 20, "height": 20}
    fields = {"split_file": "records.jsonl", **gold, **more}
    return predict(number, "mau", "diagnosis", "A cyst.", output, boxes=boxes, **fields)


def build_example(name: str, folder: Path, **options: Any) -> tuple[Any, Example]:
    """The benchmark of `conf/data/benchmark/<name>.yaml` on its class's example, and what reading it must give."""
    [config] = OmegaConf.load(ROOT / "conf" / "data" / "benchmark" / f"{name}.yaml").values()
    target = get_class(config._target_)
    example = example_of(target)(folder)
    config.root = str(folder)
    fields = {str(k): v for k, v in config.items() if k != "_target_"}
    return target(**{**fields, **dict(example.options), **options}), example


def run_here(run_dir: Path, *words: str, fails: bool = False) -> str:
    """What a command prints, run in this process; with `fails`, its one line on standard error."""
    cfg = composed(f"paths.run_dir={run_dir}", *words)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            tasks.run(cfg)
        except SystemExit as stop:
            assert isinstance(stop.code, int)
            code = stop.code
    assert code == int(fails), err.getvalue()
    if fails:
        assert err.getvalue().startswith("error: ") and err.getvalue().count("\n") == 1, err.getvalue()
        return err.getvalue()
    return out.getvalue()


def written(path: Path, lines: list[Any]) -> Path:
    """A file of these lines or predictions."""
    objects = [x.to_line() if isinstance(x, Prediction) else x for x in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(x) + "\n" for x in objects))
    return path
