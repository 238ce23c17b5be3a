"""What every benchmark promises: those of `conf/data/benchmark`, and every class in the room, find themselves here."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from inspect import getmembers, isabstract, isclass
from pathlib import Path
from typing import Any

import pytest
from answers import ROOT, build_example
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from tests.conftest import make_record
from umed.evaluation.baselines import answer_by_question, answer_majority
from umed.evaluation.benchmarks import base
from umed.evaluation.benchmarks.base import Benchmark
from umed.evaluation.benchmarks.find import find_scorers, scorers_of
from umed.evaluation.benchmarks.mau import MauBenchmark
from umed.evaluation.prediction import Prediction
from umed.evaluation.prediction_files import read_predictions
from umed.evaluation.question import BoxQuestion, Question, without_stand_in
from umed.evaluation.rules.choice import gold_index
from umed.evaluation.scorer import Scorer, judge_all, mean_scores
from umed.records import RecordSet
from umed.synthetic.benchmarks import PhantomBenchmarks

CONF = ROOT / "conf" / "data"
YAMLS: dict[str, DictConfig] = {
    path.stem: node for path in sorted((CONF / "benchmark").glob("*.yaml")) for node in OmegaConf.load(path).values()
}
ROOM = Path(base.__file__).parent
CLASSES = {
    member
    for path in ROOM.glob("*.py")
    for _, member in getmembers(import_module(f"{base.__package__}.{path.stem}"), isclass)
    if issubclass(member, Benchmark) and not isabstract(member)
}
PROTOCOLS = [instantiate(OmegaConf.load(path)) for path in sorted((CONF / "protocol").glob("*.yaml"))]


def build_mau(folder: Path) -> MauBenchmark:
    """Two sources, one of one category alone; the last picture is a normal one."""
    records = [replace(make_record(k, 40, 30, boxes=1 + k % 2), split="test") for k in range(5)]
    records = [replace(r, source="b") if k in (1, 4) else r for k, r in enumerate(records)]
    for record in records:
        Image.new("L", (40, 30), 90).save(folder / record.image)
    data = RecordSet(records[:4], {record.source: folder for record in records})
    return MauBenchmark(data, controls=[replace(records[4], id="normal", boxes=(), category="normal")])


def build(name: str, folder: Path) -> Benchmark:
    """A small benchmark of a name in `conf/data/benchmark`, or MAU, whose records are the run's."""
    if name == "mau":
        return build_mau(folder)
    if name.startswith("phantom"):
        return PhantomBenchmarks(str(folder / "all"), num_items=9)
    return build_example(name, folder)[0]


NAMES = [*YAMLS, "mau"]
EVERY = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Benchmark]:
    kept: dict[str, Benchmark] = {}

    def get(name: str) -> Benchmark:
        if name not in kept:
            kept[name] = build(name, tmp_path_factory.mktemp(name))
        return kept[name]

    return get


def test_every_class_of_the_room_stands_here(built: Callable[[str], Benchmark]) -> None:
    assert {type(built(name)) for name in NAMES} >= CLASSES
    assert {dataset for cls in CLASSES for dataset in cls.scorers} == set(find_scorers())
    assert next(iter(find_scorers())) == "mau"


@pytest.mark.parametrize("name", [name for name in YAMLS if not name.startswith("phantom")])
def test_an_example_is_read_back(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark, example = build_example(name, tmp_path)

    def key(question: Question) -> str:
        return f"{question.extra['set']}:{question.id}" if question.answer_type == "label" else question.id

    questions = benchmark.questions()
    assert {key(q): (q.answer_type, q.answer) for q in questions} == example.items
    assert [key(q) for q in questions] == list(example.items)  # in file order
    assert len(benchmark.train()) == example.train
    told = capsys.readouterr().out.splitlines()
    assert len(told) == bool(example.lost) and all(f": {example.lost} of " in t and "left out" in t for t in told)


@EVERY
def test_questions_and_pictures(name: str, built: Callable[[str], Benchmark]) -> None:
    benchmark = built(name)
    questions, train = benchmark.questions(), benchmark.train()
    for part in (questions, train, benchmark.controls()):
        assert len({(q.dataset, q.id) for q in part}) == len(part)
        assert all(q.question.strip() and q.image for q in part)
        assert {benchmark.picture(q).mode for q in part[:9]} <= {"RGB"}
    datasets = list(dict.fromkeys(q.dataset for q in questions))
    assert [without_stand_in(dataset) for dataset in datasets] == list(benchmark.scorers)
    assert list(benchmark.splits) == (datasets if name != "mau" else [])
    for dataset, split in benchmark.splits.items():
        assert len(split.sha256) == 64 and split.origin
        assert {q.split_file for q in questions if q.dataset == dataset} == {split.file}
    for q in [*questions, *train, *benchmark.controls()]:
        scorer = benchmark.scorers[without_stand_in(q.dataset.removesuffix("_controls"))]
        assert isinstance(q, scorer.question_type) and q.answer_type in scorer.answer_types
        labels = scorer.labels(q)
        for protocol in PROTOCOLS:
            assert protocol.query(q).strip() and tuple(protocol.candidates(q)) == labels
        assert not labels or scorer.gold_output(q) in labels


def answer(question: Question, scorer: Scorer, output: str, is_gold: bool) -> Prediction:
    """An answer with everything that the scorer reads: boxes of a region, scores of labels."""
    labels, gold = scorer.labels(question), scorer.gold_output(question)
    scores = {label: float(label == gold) for label in labels} if labels and is_gold else None
    boxes = question.gold_boxes if is_gold and isinstance(question, BoxQuestion) else None
    return Prediction(question=question, output=output, boxes=boxes, scores=scores)


@EVERY
def test_gold_answers_have_full_marks_and_no_answer_has_none(
    name: str, built: Callable[[str], Benchmark], tmp_path: Path
) -> None:
    benchmark = built(name)
    questions = benchmark.questions()
    scorers = {q.dataset: benchmark.scorers[without_stand_in(q.dataset)] for q in questions}
    gold = [answer(q, s, s.gold_output(q), True) for q in questions for s in [scorers[q.dataset]]]
    silent = [answer(q, scorers[q.dataset], "", False) for q in questions]
    texts = "".join(json.dumps(p.to_line()) + "\n" for p in gold)
    (tmp_path / "gold.jsonl").write_text(texts, encoding="utf-8")
    assert read_predictions(tmp_path / "gold.jsonl", benchmark.scorers) == [_read(p) for p in gold]
    for p, right, wrong in zip(gold, *(judge_all(of, benchmark.scorers) for of in (gold, silent)), strict=True):
        for rule in scorers[p.question.dataset].rules:
            if rule == "choice_nearest":
                continue  # a letter alone may select another choice, as in the script that it follows
            lost, full = (1.0, 0.0) if rule == "unparsed" else (0.0, 1.0)
            assert right[rule] is None or float(right[rule]) == pytest.approx(full), (rule, p)
            assert wrong[rule] is None or float(wrong[rule]) == lost, (rule, p)
        assert any(v is not None for v in right.values())
        assert any(v is not None for v in wrong.values())


def _read(prediction: Prediction) -> Prediction:
    """What a file keeps of it."""
    fields = {name: value for name, value in prediction.question if name != "extra"}
    return prediction.model_copy(update={"question": type(prediction.question)(**fields)})


@EVERY
def test_a_whole_choice_is_nearest_to_itself(name: str, built: Callable[[str], Benchmark]) -> None:
    for q in built(name).questions():
        if q.answer_type == "choice":
            place = gold_index(q.gold, q.choices or ())
            assert place is not None and q.choices is not None
            scorer = built(name).scorers[without_stand_in(q.dataset)]
            assert [v["choice_nearest"] for v in scorer.judge([answer(q, scorer, c, False) for c in q.choices])] == [
                k == place for k in range(4)
            ]


@EVERY
def test_chance_and_columns_name_rules_that_exist(name: str, built: Callable[[str], Benchmark]) -> None:
    benchmark = built(name)
    for dataset, scorer in benchmark.scorers.items():
        own = [q for q in benchmark.questions() if without_stand_in(q.dataset) == dataset]
        gold = [answer(q, scorer, scorer.gold_output(q), True) for q in own]
        verdicts = scorer.judge(gold)
        rules = {rule for verdict in verdicts for rule in verdict}
        rules |= {score.rule for score in mean_scores(scorer, own[0].dataset, gold, verdicts)}
        assert set(scorer.rules) <= rules and scorer.box_rules <= set(scorer.rules)
        for answer_type in scorer.answer_types:
            chance = scorer.chance({answer_type})
            assert chance.keys() <= rules and all(0 < value < 1 for value in chance.values())
        assert {column.nearest for column in scorer.columns} <= rules
        assert {column.strict for column in scorer.columns if column.strict} <= rules
        assert len({column.name for column in scorer.columns}) == len(scorer.columns)
        slices = {scorer.slice_of(q) for q in own}
        assert len(slices) > 1 if dataset == "mau" else slices == {""}
        assert all(isinstance(note, str) for note in scorer.note(own[0].dataset, gold, []))


@EVERY
def test_baselines_can_be_made(name: str, built: Callable[[str], Benchmark]) -> None:
    benchmark = built(name)
    questions = benchmark.questions()
    given = [answer(q, benchmark.scorers[without_stand_in(q.dataset)], "?", True) for q in questions]
    train = [q for q in benchmark.train() if q.dataset == questions[0].dataset]
    own = [p for p in given if p.question.dataset == questions[0].dataset]
    for row, of in (
        (answer_majority(given, benchmark.scorers), given),
        (answer_by_question(own, train, benchmark.scorers), own),
    ):
        assert [p.question for p in row] == [p.question for p in of]
        assert all(p.boxes is None and isinstance(p.output, str) for p in row)
        assert len(judge_all(row, benchmark.scorers)) == len(of)


def test_scorers_of_a_users_own_benchmark_are_found_without_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_benchmark.py").write_text(
        "from umed.evaluation.benchmarks.vqa_rad import VqaRad\n"
        "class Own(VqaRad):\n    scorers = {'okvqa': VqaRad.scorers['vqa_rad']}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cfg: Any = OmegaConf.create({"data": {"benchmark": {"own": {"_target_": "own_benchmark.Own", "root": "nowhere"}}}})
    assert set(scorers_of(cfg)) == {*find_scorers(), "okvqa"} and "okvqa" not in find_scorers()
    assert scorers_of(OmegaConf.create({"data": {"benchmark": None}})) == find_scorers()


@pytest.mark.parametrize("name", YAMLS)
def test_data_sets_of_a_yaml_are_known_on_its_class(name: str) -> None:
    assert get_class(YAMLS[name]._target_).scorers.keys() <= find_scorers().keys()  # type: ignore[attr-defined]
