"""`task=evaluate` with the tiny model: what it writes, that `task=score` finds the same, and what may be left out."""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from answers import ROOT, run, run_here
from composed import composed
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from umed.errors import InputError
from umed.evaluation import verdicts as rules
from umed.evaluation.answer import answer_questions
from umed.evaluation.benchmarks.slake import Slake
from umed.evaluation.datamodule import BenchmarkDataModule
from umed.evaluation.leaks import leaked_items
from umed.evaluation.pixel_leaks import pixel_digest
from umed.evaluation.question import DATASETS, SYNTHETIC, kind
from umed.evaluation.rules.normalize import norm
from umed.evaluation.tables import print_results, print_table
from umed.models.family import FamilyProcessor
from umed.models.policy import Policy
from umed.records import RecordSet, read_jsonl, read_records, write_jsonl
from umed.synthetic.benchmarks import PhantomBenchmarks
from umed.synthetic.examples import example_of
from umed.tasks.evaluate import Answered, _write, asks_mau, evaluate

ITEMS, AT_MOST = 5, 8
BENCHMARKS = [f"{SYNTHETIC}{dataset}" for dataset in DATASETS if dataset != "mau"]
FIELDS = {"id", "dataset", "split_file", "question", "answer", "answer_type", "choices", "output", "boxes", "scores"}
FIELDS |= {"image"}
OF_MAU = {"source", "category", "gold_boxes", "width", "height"}
ASKED_AGAIN, ROWS = ("black", "shuffled"), ("black", "shuffled", "majority")
HEADS = ("majority", "chance", "question", "alone", "black", "another", "picture", "not in", "training")
SMALL = ["data.source.phantom.num_images=30", f"data.benchmark.phantom.num_items={ITEMS}", "logger=csv",
         "data.evaluate.samples=1", f"data.evaluate.at_most={AT_MOST}", "data.evaluate.batch_size=16",
         "method.max_new_tokens=24"]  # fmt: skip


@dataclass
class Run:
    folder: Path
    data: Path
    shown: str

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions" / "base"

    def lines(self, name: str) -> list[dict]:
        return list(read_jsonl(self.predictions / f"{name}.jsonl"))

    @property
    def metrics(self) -> dict[str, float]:
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def drawn(self) -> PhantomBenchmarks:
        return PhantomBenchmarks(str(self.data / "phantom_benchmarks"), num_items=ITEMS)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """MAU and the six stand-ins, answered by the embedded model."""
    root = tmp_path_factory.mktemp("evaluated")
    shown = run_here(root / "run", "task=evaluate", *SMALL, f"paths.data={root / 'data'}")
    return Run(root / "run", root / "data", shown)


def asked(folder: Path, *overrides: str) -> DictConfig:
    folder.mkdir(parents=True, exist_ok=True)
    small = [x for x in SMALL if "data/benchmark=[]" not in overrides or "data.benchmark" not in x]
    return composed("task=evaluate", *small, f"paths.run_dir={folder}", *overrides)


def again(of: Run, folder: Path, *overrides: str) -> Run:
    """Evaluate once more in this process, with the same data."""
    evaluate(asked(folder, f"paths.data={of.data}", *overrides))
    return Run(folder, of.data, "")


def test_every_question_has_its_line(evaluated: Run) -> None:
    questions = evaluated.drawn.questions()
    assert {q.dataset for q in questions} == set(BENCHMARKS)
    for dataset in BENCHMARKS:
        own = [q for q in questions if q.dataset == dataset]
        lines = evaluated.lines(dataset)
        assert lines == [q.line(x["output"], x["scores"]) for q, x in zip(own, lines, strict=True)]
        assert all(x.keys() >= FIELDS and isinstance(x["output"], str) and x["boxes"] is None for x in lines)
        assert any(x["output"] for x in lines)
    assert {p.stem for p in evaluated.predictions.glob("*.jsonl")} == {"mau", "mau_sampled", *BENCHMARKS}


def test_mau_lines_need_nothing_else_to_be_scored(evaluated: Run) -> None:
    records = {r.id: r for r in read_records(evaluated.folder / "records.jsonl")}
    lines = evaluated.lines("mau")
    assert len(lines) == AT_MOST == len({x["id"] for x in lines})
    for x in lines:
        record = records[x["id"]]
        assert x.keys() >= FIELDS | OF_MAU and (x["dataset"], x["answer_type"]) == ("mau", "diagnosis")
        assert record.split == "test" and x["question"] == record.query
        assert (x["source"], x["category"], x["image"]) == (record.source, record.category, record.image)
        assert (x["width"], x["height"]) == (record.width, record.height)
        assert len(x["gold_boxes"]) == len(record.boxes)
    assert Counter(x["id"] for x in evaluated.lines("mau_sampled")) == Counter(x["id"] for x in lines)


def test_only_labels_and_choices_have_scores_which_sum_to_1(evaluated: Run) -> None:
    for dataset in BENCHMARKS:
        for x in evaluated.lines(dataset):
            names = {"label": x["choices"], "choice": list("ABCD")}.get(x["answer_type"])
            if names is None:
                assert x["scores"] is None
            else:
                assert list(x["scores"]) == names
                assert sum(x["scores"].values()) == pytest.approx(1, abs=1e-6) and min(x["scores"].values()) >= 0


def test_sanity_rows_answer_the_same_items(evaluated: Run) -> None:
    folder = evaluated.predictions / "sanity"
    expected = {f"{d}.{row}" for d in ("mau", *BENCHMARKS) for row in ROWS}
    expected |= {f"{d}.question_prior" for d in BENCHMARKS} | {"mau.controls"}
    assert {p.stem for p in folder.glob("*")} == expected
    said = ("output", "boxes", "scores")
    for name in expected - {"mau.controls"}:
        dataset, row = name.split(".")
        own, lines = evaluated.lines(dataset), evaluated.lines(f"sanity/{name}")
        for x, y in zip(own, lines, strict=True):
            assert {k: v for k, v in x.items() if k not in said} == {k: v for k, v in y.items() if k not in said}
        if row in ASKED_AGAIN and kind(dataset).startswith("medmnist"):
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


def test_normal_pictures_are_answered_apart(evaluated: Run) -> None:
    controls = [r for r in read_records(evaluated.folder / "controls.jsonl", controls=True) if r.split == "test"]
    lines = evaluated.lines("sanity/mau.controls")
    assert [x["id"] for x in lines] == [c.id for c in controls[:AT_MOST]] and lines
    queries = {r.query for r in read_records(evaluated.folder / "records.jsonl") if r.source == "phantom_tbx11k"}
    for x in lines:
        assert x["dataset"] == "mau_controls" and x["source"] == "phantom_tbx11k" and x["gold_boxes"] == []
        assert x["question"] in queries and x["categories"]
    metrics = evaluated.metrics
    share = sum(bool(x["boxes"]) for x in lines) / len(lines)
    assert metrics["base/mau/false_boxes/avg"] == metrics["base/mau/false_boxes/phantom_tbx11k"] == share
    assert 0 <= metrics["base/mau/false_positives/avg"] <= 1


def test_test_pictures_that_are_in_training_are_told(evaluated: Run) -> None:
    drawn, expected = evaluated.drawn, set()
    for dataset in BENCHMARKS:
        train = {pixel_digest(drawn.picture(q)) for q in drawn.train() if q.dataset == dataset}
        test = [q for q in drawn.questions() if q.dataset == dataset]
        expected |= {(dataset, q.id) for q in test if pixel_digest(drawn.picture(q)) in train}
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


def test_the_split_files_are_written_down(evaluated: Run) -> None:
    splits = json.loads((evaluated.predictions / "splits.json").read_text())
    assert list(splits) == BENCHMARKS
    for dataset, split in evaluated.drawn.splits.items():
        assert splits[dataset]["sha256"] == split.sha256 and splits[dataset]["protocol"] == "ours"
        assert {x["split_file"] for x in evaluated.lines(dataset)} == {splits[dataset]["file"]}


def test_score_finds_the_same_numbers(evaluated: Run, tmp_path: Path) -> None:
    shown = run("task=score", f"predictions={evaluated.predictions}", f"hydra.run.dir={tmp_path}")
    scored = json.loads((tmp_path / "metrics.json").read_text())
    metrics = evaluated.metrics
    assert {n.split("/")[0] for n in scored} == {"mau", *BENCHMARKS}
    for name, value in scored.items():
        assert metrics[f"base/{name}"] == pytest.approx(value, abs=1e-12), name
    kept = [x for d in ("mau", *BENCHMARKS) for x in evaluated.lines(f"scores/{d}")]
    by_id = sorted(map(json.dumps, read_jsonl(tmp_path / "scores.jsonl")))
    assert sorted(map(json.dumps, kept)) == by_id  # the verdicts of every item too
    only_here = {n for n in metrics if n.startswith("base/") and n.removeprefix("base/") not in scored}
    asked = ("question_prior", *ASKED_AGAIN, "disjoint", "disjoint_n")
    more = [n for n in only_here if not n.endswith(asked)]
    assert all("iou_sampled" in n or "/false_" in n for n in more), more
    for rule in ("vqa_rad/open_exact", "slake/closed_contains", "pmc_vqa/choice_letter", "pmc_vqa/blank_nearest",
                 "medmnist_derma/acc", "medmnist_breast/auc", "medmnist_pneumonia/auc"):  # fmt: skip
        assert 0 <= metrics[f"base/phantom_{rule}"] <= 1 and metrics[f"base/phantom_{rule}/n"] >= 2
        assert all(math.isfinite(metrics[f"base/phantom_{rule}/{row}"]) for row in (*ROWS, "question_prior"))
    assert "SYNTHETIC" in shown and "open_nearest" in shown


def test_a_row_is_what_the_rules_find_in_its_file(evaluated: Run) -> None:
    synonyms = OmegaConf.load(ROOT / "conf/data/synonyms/default.yaml")
    for path in sorted((evaluated.predictions / "sanity").glob("*.black.jsonl")):
        lines = list(read_jsonl(path))
        found = rules.metrics(lines, rules.verdicts(lines, synonyms=synonyms))
        for name in (n for n in found if n.count("/") == 1):
            assert evaluated.metrics[f"base/{name}/black"] == pytest.approx(found[name]), name


def test_the_tables_say_what_is_synthetic_and_what_a_number_must_beat(evaluated: Run) -> None:
    mau, rest = evaluated.shown.split("protocol ours")
    assert "(SYNTHETIC pictures): accuracy / IoU" in mau and "deeplesion" in mau and "IoU sampled" in mau
    assert all(f"│   {row} " in mau for row in ("majority", "black picture", "another picture"))
    assert "phantom_slake: split file test.json, closed by answer_type" in evaluated.shown
    head = rest.split("┡")[0]
    assert "(phantom_: SYNTHETIC pictures)" in head
    assert all(word in head for word in ("95 %", "value", *HEADS))
    for dataset in ("mau", *BENCHMARKS):
        assert f"│ {dataset} " in rest
    row = next(line for line in rest.splitlines() if f"│ {BENCHMARKS[-1]} " in line and "│ acc " in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    name = f"base/{BENCHMARKS[-1]}/acc"
    parts = ("", "/majority", "/chance", "/question_prior", "/black", "/shuffled", "/disjoint")
    value, *beside = (f"{evaluated.metrics[f'{name}{part}']:.3f}" for part in parts)
    low, high = (f"{evaluated.metrics[f'{name}/{part}']:.3f}" for part in ("low", "high"))
    assert cells == ["base", BENCHMARKS[-1], "acc", value, f"{low} - {high}", str(ITEMS), *beside]


def test_a_table_of_real_pictures_has_no_mark(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"sft/mau/accuracy/kvasir": 0.5, "sft/mau/accuracy/avg": 0.25, "sft/mau/accuracy/n": 3}
    metrics |= {"sft/mau/accuracy/black": 0.125, "aar/mau/accuracy/kvasir": 1.0}
    print_table(metrics, ["sft", "aar"], "MAU")
    shown = capsys.readouterr().out
    assert "SYNTHETIC" not in shown and "black" not in shown  # a sanity row is no source
    first, second = ([c.strip() for c in x.split("│")[1:-1]] for x in shown.splitlines() if x.startswith("│"))
    assert first == ["sft", "0.50 / -", "0.25 / -", "-", "-"] and second[:3] == ["aar", "1.00 / -", "- / -"]
    print_results(metrics, ["sft"], "MAU")
    shown = capsys.readouterr().out
    assert "SYNTHETIC" not in shown and "0.125" in shown and "question" not in shown and "majority" not in shown


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, processor: FamilyProcessor) -> Callable[..., BenchmarkDataModule]:
    drawn = PhantomBenchmarks(str(tmp_path_factory.mktemp("phantom") / "all"), num_items=3)
    protocol = instantiate(OmegaConf.load(ROOT / "conf/data/protocol/ours.yaml"))
    return lambda **options: BenchmarkDataModule({"phantom": drawn}, processor, protocol, **options)


@pytest.mark.parametrize("look", ["own", "shuffled"])
def test_batches_answer_as_one_question_at_a_time(
    look: str, policy: Callable[..., Policy], small: Callable[..., BenchmarkDataModule]
) -> None:
    model = policy()
    alone, together = (
        answer_questions(model, small(batch_size=size, at_most=2), "test", max_new_tokens=6, look=look)
        for size in (1, 64)
    )
    assert list(alone) == list(together) == BENCHMARKS
    count = 0
    for x, y in ((x, y) for d in BENCHMARKS for x, y in zip(alone[d], together[d], strict=True)):
        assert {**x, "scores": None} == {**y, "scores": None}
        assert (x["scores"] is None) == (y["scores"] is None)
        if x["scores"]:
            count += 1
            assert list(x["scores"]) == list(y["scores"])
            assert list(x["scores"].values()) == pytest.approx(list(y["scores"].values()), abs=1e-5)
    assert count == 2 * 3 + 1 and len({x["output"] for own in alone.values() for x in own}) > 1


def test_leaks_without_mau(
    small: Callable[..., BenchmarkDataModule], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = OmegaConf.create({"init_from": None, "data": {"evaluate": {"split": "test"}, "prepare": {"workers": 2}}})
    first = leaked_items(cfg, None, small(), tmp_path)
    assert set(first) == set(BENCHMARKS) and capsys.readouterr().out.count("leak: ") == len(BENCHMARKS)
    assert all("mau_train" not in of for of in json.loads((tmp_path / "leaks.json").read_text()).values())
    cfg.init_from = str(tmp_path / "adapter")
    assert leaked_items(cfg, None, small(), tmp_path) == first
    assert "adapter was trained on are not known" in capsys.readouterr().out


def test_the_records_that_a_run_was_trained_on_are_compared_without_mau_too(
    evaluated: Run, small: Callable[..., BenchmarkDataModule], tmp_path: Path
) -> None:
    cfg = OmegaConf.create({"data": {"evaluate": {"split": "test"}, "prepare": {"workers": 2}}})
    module, run = small(), tmp_path / "run"
    question = next(q for q in module.questions if q.dataset == f"{SYNTHETIC}slake")
    (run / "pictures").mkdir(parents=True)
    module.owner(question.dataset).picture(question).save(run / "pictures" / "same.png")
    [record] = [r for r in read_records(evaluated.folder / "records.jsonl") if r.split == "train"][:1]
    write_jsonl(run / "records.jsonl", [replace(record, source="s", image="same.png").to_json()])
    (run / "sources.json").write_text(json.dumps({"s": str(run / "pictures")}))
    (run / "metrics.json").write_text("{}")
    for beside in ("adapter", "adapter/sft", "."):
        cfg.init_from = str(run / beside)
        assert question.id in leaked_items(cfg, None, module, tmp_path)[question.dataset]
        where = json.loads((tmp_path / "leaks.json").read_text())[question.dataset]["mau_train"]
        assert where["pictures"] == 1 and where["items"] >= 1
    nothing = RecordSet([], {})  # records that are asked are not what the model was trained on
    assert question.id in leaked_items(cfg, nothing, module, tmp_path)[question.dataset]
    leaked_items(
        cfg, None, module, tmp_path, trained_on=RecordSet([replace(record, split="train")], {record.source: run})
    )
    assert json.loads((tmp_path / "leaks.json").read_text())[question.dataset]["mau_train"]["unread"] == 1
    for damaged in ("{", "{}", "[1]"):
        (run / "sources.json").write_text(damaged)
        leaked_items(cfg, None, module, tmp_path)
        assert "mau_train" not in json.loads((tmp_path / "leaks.json").read_text())[question.dataset]


def test_benchmarks_alone(evaluated: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same answers as beside MAU; no records are prepared, no MAU table is printed."""
    one = again(evaluated, tmp_path / "one", "data.evaluate.mau=false", "data.evaluate.sanity=[majority]")
    shown = capsys.readouterr().out
    assert "accuracy / IoU" not in shown and "│ mau " not in shown and "SYNTHETIC" in shown
    assert not (one.folder / "records.jsonl").exists() and not any("/mau/" in name for name in one.metrics)
    for dataset in BENCHMARKS:
        before, now = evaluated.lines(dataset), one.lines(dataset)
        assert [x["output"] for x in now] == [x["output"] for x in before]
    names = {p.stem for p in (one.predictions / "sanity").glob("*")}
    assert names == {f"{dataset}.majority" for dataset in BENCHMARKS}
    assert all(evaluated.metrics[name] == pytest.approx(value) for name, value in one.metrics.items())
    assert "question" not in shown.split("┡")[0] and "black" not in shown


def test_mau_alone(evaluated: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"records={evaluated.folder / 'records.jsonl'}", "data/benchmark=[]", "data.evaluate.sanity=[black]"]
    one = again(evaluated, tmp_path / "one", *words, "data.evaluate.samples=0", "data.evaluate.leaks=false")
    shown = capsys.readouterr().out
    assert "accuracy / IoU" in shown and "SYNTHETIC" in shown and "│ mau " in shown and "leak: " not in shown
    assert {p.name for p in one.predictions.glob("*.json*")} == {"mau.jsonl"}
    assert {p.name for p in (one.predictions / "sanity").iterdir()} == {"mau.black.jsonl", "mau.controls.jsonl"}
    assert one.lines("mau") == evaluated.lines("mau")
    assert not (one.folder / "leaks.json").exists() and not any("phantom_vqa" in n for n in one.metrics)
    same = {n: v for n, v in one.metrics.items() if n.startswith("base/")}
    assert same and all(evaluated.metrics[n] == pytest.approx(v) for n, v in same.items())


def test_a_lost_test_picture_is_told_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example_of(Slake)(tmp_path / "slake")
    (tmp_path / "slake" / "imgs" / "xmlab104" / "source.jpg").unlink()
    monkeypatch.setattr("umed.tasks.train.load_or_annotate", lambda cfg: RecordSet([], {}))
    monkeypatch.setattr("umed.tasks.train.train_stage", lambda *_: pytest.fail("trained"))
    words = ["task=train", "data/benchmark=[slake]", f"data.benchmark.slake.root={tmp_path / 'slake'}"]
    told = run_here(tmp_path / "run", *words, "data.evaluate.mau=false", fails=True)
    assert "xmlab104/source.jpg" in told


def test_nothing_at_all_ends_in_one_line(tmp_path: Path) -> None:
    words = ["task=evaluate", SMALL[0], "data.evaluate.mau=false", "data/benchmark=[]"]
    assert "nothing to evaluate: set data.evaluate.mau=true" in run_here(tmp_path / "run", *words, fails=True)
    assert not list((tmp_path / "run").rglob("*.jsonl"))


def test_an_unknown_row_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    cfg = asked(tmp_path, "data.evaluate.sanity=[black,blurred]", f"paths.data={tmp_path / 'data'}")
    for call in (asks_mau, evaluate):
        with pytest.raises(InputError, match=r"data\.evaluate\.sanity=blurred: choose majority, question_prior, black"):
            call(cfg)
    assert not list(tmp_path.iterdir())


def test_an_earlier_evaluation_leaves_no_file(tmp_path: Path) -> None:
    line = {"id": "1"}
    _write(tmp_path, Answered({"mau": [line], "slake": [line]}, {"black": {"mau": [line]}}, [line], [line]))
    (tmp_path / "splits.json").write_text("{}")
    _write(tmp_path, Answered({"slake": [line]}))
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()] == ["slake.jsonl"]


@pytest.mark.parametrize(
    "wrong", ["at_most=0", "at_most=1.5", "batch_size=0", "sanity=null", "sanity=majority", "leaks=nein", "alone=-1"]
)
def test_options_that_are_none_are_refused_before_anything_is_loaded(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"data.evaluate.{wrong.split('=')[0]}="):
        asks_mau(asked(tmp_path, f"data.evaluate.{wrong}"))
