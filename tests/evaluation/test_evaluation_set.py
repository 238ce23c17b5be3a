"""What a stage is asked: settings that are refused, and training pictures that test pictures are compared with."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers import SMALL
from composed import composed
from PIL import Image

from tests.conftest import make_record
from umed.errors import InputError
from umed.evaluation.evaluation_set import EvaluationSet, check_evaluation
from umed.evaluation.leaks import read_leaks
from umed.records import SYNTHETIC, Record, RecordSet
from umed.run_files import write_jsonl
from umed.synthetic.benchmarks import PhantomBenchmarks

ITEMS = 3
DATASETS = {f"{SYNTHETIC}{name}" for name in PhantomBenchmarks.scorers}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantom") / "all"


@pytest.fixture
def make(root: Path, tmp_path: Path) -> Iterator[Callable[..., EvaluationSet]]:
    """`make(data, trained_on, *overrides)`: an evaluation set with the stand-ins beside MAU's records, if there are."""

    def build(data: RecordSet | None, trained_on: RecordSet | None = None, *overrides: str) -> EvaluationSet:
        phantom = [f"data.benchmark.phantom.root={root}", f"data.benchmark.phantom.num_items={ITEMS}"]
        cfg = composed("task=evaluate", *phantom, f"paths.run_dir={tmp_path}", "data.prepare.workers=2", *overrides)
        return EvaluationSet(cfg, data, trained_on)

    yield build


def leaks_of(evaluation_set: EvaluationSet) -> dict[str, Any]:
    assert {dataset: set(ids) for dataset, ids in evaluation_set.leaked.items()} == read_leaks(evaluation_set.run)
    return json.loads((evaluation_set.run / "leaks.json").read_text())


def test_leaks_without_mau(make: Callable[..., EvaluationSet], capsys: pytest.CaptureFixture[str]) -> None:
    evaluation_set = make(None)
    assert evaluation_set.leaked.keys() == DATASETS and capsys.readouterr().out.count("leak: ") == len(DATASETS)
    assert all(of.keys() == {"pictures", "items", "own_train"} for of in leaks_of(evaluation_set).values())
    other = make(None, None, f"init_from={evaluation_set.run / 'adapter'}")
    assert other.leaked == evaluation_set.leaked
    assert "adapter was trained on are not known" in capsys.readouterr().out
    assert make(None, None, "data.evaluate.leaks=false").leaked == {}


def test_the_records_that_a_model_was_tuned_on_are_compared(
    make: Callable[..., EvaluationSet], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, evaluation_set = tmp_path / "tuned", make(None)
    question = next(q for q in evaluation_set.data.questions if q.dataset == f"{SYNTHETIC}slake")
    (run / "pictures").mkdir(parents=True)
    evaluation_set.data.owner(question.dataset).picture(question).save(run / "pictures" / "same.png")
    record = replace(make_record(0, 56, 56), source="s", image="same.png", split="train")
    write_jsonl(run / "records.jsonl", [record.to_json()])
    (run / "sources.json").write_text(json.dumps({"s": str(run / "pictures")}))
    lost = replace(record, source="t", image="nowhere.png")

    def overlap(*args: Any) -> dict[str, Any] | None:
        return leaks_of(make(*args))[question.dataset].get("mau_train")

    for beside in ("adapter", "adapter/sft", "."):
        found = overlap(None, None, f"init_from={run / beside}")
        assert found is not None and found["pictures"] == 1 and found["items"] >= 1
        assert question.id in read_leaks(tmp_path)[question.dataset]
    asked = RecordSet([replace(record, split="test")], {"s": run / "pictures"})
    told = overlap(asked, None, f"init_from={run}")  # records that are asked are not what the model was tuned on
    assert told is not None and told["pictures"] == 1
    told = overlap(None, RecordSet([lost], {"t": run}), f"init_from={run}")
    assert told is not None and (told["pictures"], told["unread"]) == (0, 1)
    capsys.readouterr()
    for damaged in ("{", "{}", "[1]"):
        (run / "sources.json").write_text(damaged)
        assert overlap(None, None, f"init_from={run}") is None
        assert "was trained on are not known" in capsys.readouterr().out


def test_normal_pictures_lie_beside_the_records(make: Callable[..., EvaluationSet], tmp_path: Path) -> None:
    Image.fromarray(np.full((56, 56, 3), 90, np.uint8)).save(tmp_path / "0.png")
    record = replace(make_record(0, 56, 56), split="test")
    data = RecordSet([record], {record.source: tmp_path})
    assert make(data).data.benchmarks["mau"].controls() == []
    control = replace(record, id="normal/0", boxes=(), category="normal", diagnosis="")
    write_jsonl(tmp_path / "controls.jsonl", [_control(control)])
    [asked] = make(data).data.benchmarks["mau"].controls()
    assert (asked.id, asked.dataset, asked.question) == ("normal/0", "mau_controls", record.query)
    write_jsonl(tmp_path / "controls.jsonl", [_control(replace(control, source="elsewhere"))])
    with pytest.raises(InputError, match=r"controls.jsonl: no folder is known for elsewhere: keep sources.json"):
        make(data)


def _control(record: Record) -> dict[str, Any]:
    return {**record.to_json(), "boxes": []}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["sanity=[black,blurred]"], "sanity=blurred: choose majority, question_prior, black"),
        (["sanity=null"], "sanity=None: a list is needed"),
        (["sanity=majority"], "sanity=majority: a list is needed"),
        (["leaks=nein"], "leaks=nein: choose true or false"),
        (["at_most=0"], "at_most=0"),
        (["at_most=1.5"], "at_most=1.5"),
        (["batch_size=0"], "batch_size=0"),
        (["alone=-1"], "alone=-1"),
        (["alone=1.5"], "alone=1.5: a whole number is needed"),
        (["mau=false", "alone=3"], "alone=3: its queries are MAU's"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: list[str], told: str) -> None:
    cfg = composed("task=evaluate", *SMALL, *(f"data.evaluate.{word}" for word in wrong))
    with pytest.raises(InputError, match=f"^data.evaluate.{told}"):
        check_evaluation(cfg)


def test_something_must_be_asked() -> None:
    with pytest.raises(InputError, match="nothing to evaluate: set data.evaluate.mau=true"):
        check_evaluation(composed("task=evaluate", "data.evaluate.mau=false", "data/benchmark=[]"))
