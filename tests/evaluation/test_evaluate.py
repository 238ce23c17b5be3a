"""What an evaluated stage leaves in its run folder: answers, baselines, verdicts, leaks, and named numbers."""

import json
import math
from collections import Counter
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from answers import AT_MOST, SCORERS, EvaluatedRun, diagnose, parse, predict
from composed import composed

from umed.chat import without_region
from umed.engine import device
from umed.errors import InputError
from umed.evaluation import evaluate
from umed.evaluation.benchmarks.find import build_options, find_scorers
from umed.evaluation.evaluate import Evaluation, _write_answers
from umed.evaluation.leaks import hash_pixels
from umed.evaluation.question import without_stand_in
from umed.evaluation.rules.normalize import norm
from umed.evaluation.score import BASELINES, Score, flat_metrics, parse_metrics
from umed.evaluation.scorer import judge_all, mean_scores
from umed.processes import ALONE
from umed.records import SYNTHETIC, read_records
from umed.run_files import read_jsonl, update_metrics

BENCHMARKS = [f"{SYNTHETIC}{dataset}" for dataset in
              ("vqa_rad", "slake", "pmc_vqa", "medmnist_derma", "medmnist_breast", "medmnist_pneumonia")]  # fmt: skip
ASKED_AGAIN, ROWS = ("black", "shuffled"), ("black", "shuffled", "majority")


def test_every_question_has_its_line(evaluated: EvaluatedRun) -> None:
    questions = evaluated.drawn.questions()
    assert list(dict.fromkeys(q.dataset for q in questions)) == BENCHMARKS
    for dataset in BENCHMARKS:
        predictions = [parse(line) for line in evaluated.lines(dataset)]
        own = [q.model_copy(update={"extra": {}}) for q in questions if q.dataset == dataset]
        assert len(own) <= AT_MOST and [p.question for p in predictions] == own
        assert all(p.boxes is None for p in predictions) and any(p.output for p in predictions)
        for p in predictions:
            SCORERS[without_stand_in(dataset)].check(p)
    assert {p.stem for p in evaluated.predictions.glob("*.jsonl")} == {"mau", "mau_sampled", *BENCHMARKS}


def test_mau_lines_need_nothing_else_to_be_scored(evaluated: EvaluatedRun) -> None:
    records = {r.id: r for r in read_records(evaluated.folder / "records.jsonl")}
    predictions = [parse(line) for line in evaluated.lines("mau")]
    assert len(predictions) == AT_MOST == len({p.question.id for p in predictions})
    for p in predictions:
        q, record = p.question, records[p.question.id]
        SCORERS["mau"].check(p)
        assert record.split == "test" and (q.question, q.image) == (record.query, record.image)
        assert (q.part, q.gold) == (record.source, without_region(record.diagnosis))
        assert len(q.true_boxes) == len(record.boxes) and q.category == record.category
        assert (q.width, q.height) == (record.width, record.height)
    sampled = Counter(line["id"] for line in evaluated.lines("mau_sampled"))
    assert sampled == Counter(p.question.id for p in predictions)


def test_only_labels_and_choices_have_scores_which_sum_to_1(evaluated: EvaluatedRun) -> None:
    for dataset in ("mau", *BENCHMARKS):
        for p in map(parse, evaluated.lines(dataset)):
            labels = SCORERS[without_stand_in(dataset)].labels(p.question)
            assert tuple(p.scores or ()) == labels
            if p.scores:
                assert sum(p.scores.values()) == pytest.approx(1, abs=1e-6) and min(p.scores.values()) >= 0


def test_sanity_rows_answer_the_same_items(evaluated: EvaluatedRun) -> None:
    folder = evaluated.predictions / "sanity"
    expected = {f"{d}.{row}" for d in ("mau", *BENCHMARKS) for row in ROWS}
    expected |= {f"{d}.question_prior" for d in BENCHMARKS} | {"mau.controls"}
    assert {p.stem for p in folder.glob("*")} == expected
    said = ("output", "boxes", "scores", "attention")
    for name in expected - {"mau.controls"}:
        dataset, row = name.split(".")
        own, lines = evaluated.lines(dataset), evaluated.lines(f"sanity/{name}")
        for x, y in zip(own, lines, strict=True):
            assert {k: v for k, v in x.items() if k not in said} == {k: v for k, v in y.items() if k not in said}
        if row in ASKED_AGAIN and without_stand_in(dataset).startswith("medmnist"):
            assert [x["scores"] for x in lines] != [x["scores"] for x in own]  # another picture was looked at
        if row == "majority" and dataset != "mau":
            for kind_of in {x["answer_type"] for x in own}:
                golds = Counter(x["answer"] for x in own if x["answer_type"] == kind_of)
                (constant,) = {x["output"] for x in lines if x["answer_type"] == kind_of}
                assert golds[constant] == max(golds.values())
        if row == "question_prior":
            train = [q for q in evaluated.drawn.train() if q.dataset == dataset]
            for x in lines:
                assert x["output"] in {q.answer for q in train if q.answer_type == x["answer_type"]}
                alike = {q.answer for q in train if norm(q.question) == norm(x["question"])}
                assert x["output"] in alike or not alike


def test_normal_pictures_are_answered_apart(evaluated: EvaluatedRun) -> None:
    controls = [r for r in read_records(evaluated.folder / "controls.jsonl", controls=True) if r.split == "test"]
    lines = evaluated.lines("sanity/mau.controls")
    assert [x["id"] for x in lines] == [c.id for c in controls[:AT_MOST]] and lines
    queries = {(r.source, r.query) for r in read_records(evaluated.folder / "records.jsonl")}
    for x in lines:
        assert x["dataset"] == "mau_controls" and x["gold_boxes"] == []
        assert (x["source"], x["question"]) in queries and x["categories"]
    metrics = evaluated.metrics
    sources = sorted({x["source"] for x in lines})
    shares = [mean(bool(x["boxes"]) for x in lines if x["source"] == source) for source in sources]
    assert [metrics[f"base/mau/false_boxes/{source}"] for source in sources] == shares
    assert metrics["base/mau/false_boxes/avg"] == pytest.approx(mean(shares))
    assert 0 <= metrics["base/mau/false_positives/avg"] <= 1


def test_test_pictures_that_are_in_training_are_told(evaluated: EvaluatedRun) -> None:
    drawn, expected = evaluated.drawn, set()
    for dataset in BENCHMARKS:
        train = {hash_pixels(drawn.picture(q)) for q in drawn.train() if q.dataset == dataset}
        test = [q for q in drawn.questions() if q.dataset == dataset]
        expected |= {(dataset, q.id) for q in test if hash_pixels(drawn.picture(q)) in train}
    lines = list(read_jsonl(evaluated.folder / "leaks.jsonl"))
    own = [x for x in lines if x["where"] == "own_train"]
    assert {(x["dataset"], x["id"]) for x in own} == expected and len(own) == len(expected)
    assert {dataset for dataset, _ in expected} == set(BENCHMARKS)
    ids = {q.id for q in drawn.train()}
    assert all(x["found"] in ids for x in own)
    summary = json.loads((evaluated.folder / "leaks.json").read_text())
    assert list(summary) == ["mau", *BENCHMARKS] and summary["mau"].keys() == {"pictures", "items", "mau_train"}
    for dataset in BENCHMARKS:
        assert summary[dataset].keys() == {"pictures", "items", "own_train", "mau_train"}
        assert summary[dataset]["items"] == sum(q.dataset == dataset for q in drawn.questions())
        assert summary[dataset]["own_train"]["items"] == sum(d == dataset for d, _ in expected)
        assert f"test pictures of {dataset} " in evaluated.shown
        assert any(n.startswith(f"base/{dataset}/") and n.endswith("/disjoint") for n in evaluated.metrics)


def test_the_split_files_are_written_down(evaluated: EvaluatedRun) -> None:
    splits = json.loads((evaluated.predictions / "splits.json").read_text())
    assert list(splits) == BENCHMARKS
    for dataset, split in evaluated.drawn.splits.items():
        assert splits[dataset]["sha256"] == split.sha256 and splits[dataset]["protocol"] == "ours"
        assert {x["split_file"] for x in evaluated.lines(dataset)} == {splits[dataset]["file"]}


def test_verdicts_of_every_item_and_their_means(evaluated: EvaluatedRun) -> None:
    """`scores/<dataset>.jsonl` keeps what the rules say of each line; the numbers are their means."""
    options = build_options(composed("task=evaluate"))
    for dataset in ("mau", *BENCHMARKS):
        predictions = [parse(line) for line in evaluated.lines(dataset)]
        verdicts = judge_all(predictions, SCORERS, options)
        kept = [{"id": p.question.id, **v} for p, v in zip(predictions, verdicts, strict=True)]
        assert evaluated.lines(f"scores/{dataset}") == kept
        scorer = SCORERS[without_stand_in(dataset)]
        own = flat_metrics(mean_scores(scorer, dataset, predictions, verdicts), "base")
        assert own and all(evaluated.metrics[name] == pytest.approx(value) for name, value in own.items())


def test_a_row_is_what_the_rules_find_in_its_file(evaluated: EvaluatedRun) -> None:
    options = build_options(composed("task=evaluate"))
    for row in ASKED_AGAIN:
        for dataset in ("mau", *BENCHMARKS):
            answers = [parse(line) for line in evaluated.lines(f"sanity/{dataset}.{row}")]
            verdicts = judge_all(answers, SCORERS, options)
            scores = mean_scores(SCORERS[without_stand_in(dataset)], dataset, answers, verdicts)
            for score in (s for s in scores if not s.slice and not s.row):
                value = evaluated.metrics[f"base/{dataset}/{score.rule}/{row}"]
                assert value == pytest.approx(score.value), (dataset, score.rule, row)


RULES = {
    "vqa_rad": {"open_exact", "open_recall", "open_recall75", "open_nearest", "closed_exact", "closed_contains"},
    "pmc_vqa": {"choice_letter", "choice_nearest", "blank_exact", "blank_nearest"},
    "medmnist_derma": {"acc", "auc"},
    "mau": {"accuracy", "iou", "acc@0.5", "unparsed"},
}
RULES |= {"slake": RULES["vqa_rad"]}
RULES |= dict.fromkeys(("medmnist_breast", "medmnist_pneumonia"), RULES["medmnist_derma"])
# what our tables show besides
MORE = {dataset: {"thought_removed", "unreadable"} for dataset in RULES}
for dataset in MORE:
    MORE[dataset] |= {"acc_generated"} if dataset.startswith("medmnist") else set()
MORE["pmc_vqa"] |= {"choice_likelihood"}
AVERAGES = {"attention", "accuracy_sampled", "iou_sampled", "false_positives", "false_boxes", "accuracy_multiclass"}


def test_the_names_of_the_numbers(evaluated: EvaluatedRun) -> None:
    """Exactly the names that the outside may rely on, and nothing that is not of a rule, a slice or a row."""
    assert RULES.keys() == find_scorers().keys()
    sources = {line["source"] for line in evaluated.lines("mau")}
    rows = {*BASELINES, "disjoint_n", "candidates"}
    names = {name.removeprefix("base/") for name in evaluated.metrics if name.startswith("base/")}
    for dataset in ("mau", *BENCHMARKS):
        rules = RULES[without_stand_in(dataset)] | MORE.get(without_stand_in(dataset), set())
        own = {name.removeprefix(f"{dataset}/") for name in names if name.startswith(f"{dataset}/")}
        if dataset.endswith("derma"):
            rules = rules - {"auc"}  # so few items are not of all seven classes
        assert {n for n in own if "/" not in n} == rules
        assert {f"{rule}/n" for rule in rules} <= own
        for name in own:
            rule, *rest = name.split("/")
            if rest and rest[-1] in ("n", "low", "high", *rows):
                rest.pop()
            assert rule in rules | (AVERAGES if dataset == "mau" else set()), name
            assert not rest or (dataset == "mau" and rest[0] in {*sources, "avg", f"{SYNTHETIC}tbx11k"}), name
    for rule in RULES["mau"] | {"accuracy_sampled", "iou_sampled"}:
        assert {f"mau/{rule}/{part}" for part in (*sources, "avg")} <= names
    # an untrained model may name no abnormality, so that there is no attention to measure
    assert {f"mau/{rule}/avg" for rule in AVERAGES - {"attention"}} <= names
    names -= {name for dataset in ("mau", *BENCHMARKS) for name in names if name.startswith(f"{dataset}/")}
    assert not names
    assert flat_metrics(parse_metrics(evaluated.metrics, "base"), "base").keys() == {
        name for name in evaluated.metrics if name.startswith("base/")
    }


def test_values_have_intervals_and_rows(evaluated: EvaluatedRun) -> None:
    metrics = evaluated.metrics
    assert all(math.isfinite(value) for value in metrics.values())
    for rule in ("vqa_rad/open_exact", "slake/closed_contains", "pmc_vqa/choice_letter", "pmc_vqa/blank_nearest",
                 "medmnist_derma/acc", "medmnist_breast/auc", "medmnist_pneumonia/auc"):  # fmt: skip
        name = f"base/{SYNTHETIC}{rule}"
        assert 0 <= metrics[name] <= 1 and metrics[f"{name}/n"] >= 2
        assert {f"{name}/{row}" for row in (*ROWS, "question_prior")} <= metrics.keys()
        if not rule.endswith("auc"):
            assert metrics[f"{name}/low"] <= metrics[name] <= metrics[f"{name}/high"]
    assert "base/mau/iou/majority" not in metrics  # a constant answer says no box


def test_an_earlier_evaluation_leaves_no_file(tmp_path: Path) -> None:
    mau, slake = [diagnose(0, "a", "")], [predict(0, "slake", "open", "CT", "")]
    _write_answers(tmp_path, Evaluation("base", {"mau": mau, "slake": slake}, {"black": {"mau": mau}}, {"mau": mau},
                                        {"mau": mau}))  # fmt: skip
    (tmp_path / "splits.json").write_text("{}")
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "mau.jsonl").write_text("{}")
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.jsonl")} == {
        "mau.jsonl", "slake.jsonl", "mau_sampled.jsonl", "sanity/mau.black.jsonl", "sanity/mau.controls.jsonl",
        "scores/mau.jsonl",
    }  # fmt: skip
    _write_answers(tmp_path, Evaluation("base", {"slake": slake}))
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == ["slake.jsonl"]


def test_an_evaluation_has_flat_names_without_the_stage() -> None:
    evaluation = Evaluation("base", scores=[Score("mau", "iou", 0.5, n=2)], throughput={"speed/ratio": 3.0})
    assert evaluation.metrics == {"mau/iou": 0.5, "mau/iou/n": 2, "speed/ratio": 3.0}


def test_questions_are_asked_in_the_precision_of_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    cfg = composed("trainer.accelerator=cpu", "trainer.precision=bf16-mixed", "data.evaluate.alone=1")
    monkeypatch.setattr(device, "build_policy", lambda *_: torch.nn.Dropout())

    def watch(*_: Any, **__: Any) -> dict[str, float]:
        seen.append(torch.is_autocast_enabled("cpu"))
        return {}

    monkeypatch.setattr(evaluate, "_ask_benchmark", watch)
    monkeypatch.setattr(evaluate, "measure_throughput", watch)
    data = SimpleNamespace(benchmarks={"mau": None, "slake": None}, splits={}, scorers={})
    asked: Any = SimpleNamespace(cfg=cfg, data=data, leaked={}, run=tmp_path)
    evaluate.evaluate_stage(asked, "base", None)
    assert seen == [True, True, True]


def test_a_question_that_cannot_be_asked_loses_no_other_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there stays, and the stage counts as not evaluated, whatever an earlier evaluation of it has said."""
    update_metrics(tmp_path / "metrics.json", {"base/mau/iou": 0.5, "sft/mau/iou": 0.25})
    cfg = composed("trainer.accelerator=cpu")
    monkeypatch.setattr(device, "build_policy", lambda *_: torch.nn.Dropout())

    def ask(*arguments: Any) -> None:
        if arguments[2] == "slake":
            raise InputError("engine.tokens=3: one prompt takes more")
        arguments[3].predictions["mau"] = [diagnose(0, "a", "A cyst.", None)]

    monkeypatch.setattr(evaluate, "_ask_benchmark", ask)
    data = SimpleNamespace(benchmarks={"mau": None, "slake": None}, splits={}, scorers={})
    asked: Any = SimpleNamespace(cfg=cfg, data=data, leaked={}, run=tmp_path)
    with pytest.raises(InputError, match="one prompt takes more"):
        evaluate.evaluate_stage(asked, "base", None)
    assert (tmp_path / "predictions" / "base" / "mau.jsonl").read_text().count("\n") == 1
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"sft/mau/iou": 0.25}


@pytest.mark.parametrize(("substitutes", "expected"), [(True, ["own", "black", "shuffled"]), (False, ["own"])])
def test_other_pictures_are_shown_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, substitutes: bool, expected: list[str]
) -> None:
    pictures: list[str] = []
    monkeypatch.setattr(evaluate, "ask_questions", lambda *_, shown="own", **__: (pictures.append(shown) or [], []))
    benchmark = SimpleNamespace(scorers={}, controls=lambda: [])
    data = SimpleNamespace(benchmarks={"mau": benchmark}, scorers={})
    asked: Any = SimpleNamespace(cfg=composed(), data=data, at_most=None)
    evaluate._ask_benchmark(asked, None, "mau", evaluate.Evaluation("sft"), substitutes, ALONE)  # type: ignore[arg-type]
    assert pictures == expected
