"""Normal pictures as a share of what is trained on: how many, which, with what texts, and what is refused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from composed import composed
from conftest import make_record
from omegaconf import DictConfig

from umed.annotate.stage import load_or_annotate
from umed.data.controls import DIAGNOSIS, add_controls, count_controls, draw_controls
from umed.data.mau import MauDataModule
from umed.data.sampler import group_positions
from umed.errors import InputError
from umed.evaluation.evaluation_set import EvaluationSet
from umed.records import Record, RecordSet, read_record_set, read_records
from umed.run_files import write_jsonl, write_roots
from umed.training import check_stage, keep_fraction


def one(number: int, split: str, **changes: Any) -> Record:
    return replace(make_record(number, 56, 56), split=split, **changes)


def control(number: int, split: str, **changes: Any) -> Record:
    """As `prepare` writes it: without texts."""
    normal = {"id": f"normal/{number}", "image": f"n{number}.png", "group": f"n{number}", "query": "", "diagnosis": ""}
    return one(number, split, boxes=(), category="no finding", **{**normal, **changes})


RECORDS = [one(k, "train" if k < 18 else "val" if k < 27 else "test") for k in range(30)]
CONTROLS = [control(k, "train" if k < 9 else "val" if k < 12 else "test") for k in range(15)]
Start = Callable[..., tuple[DictConfig, RecordSet]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """A run folder with records and controls, its config, and the records as a task loads them."""

    def build(
        *overrides: str, records: list[Record] = RECORDS, controls: list[Record] = CONTROLS
    ) -> tuple[DictConfig, RecordSet]:
        run = tmp_path / "run"
        write_jsonl(run / "records.jsonl", (r.to_json() for r in records))
        if controls:
            write_jsonl(run / "controls.jsonl", (c.to_json() for c in controls))
        write_roots(run, dict.fromkeys(("synthetic", "synthetic_controls", "new", "new_controls"), tmp_path))
        cfg = composed(f"paths.run_dir={run}", *overrides)
        return cfg, load_or_annotate(cfg)

    return build


def normal(data: RecordSet, split: str = "train") -> list[Record]:
    return [r for r in data.records if r.split == split and not r.boxes]


def test_by_default_no_source_stands_for_normal(start: Start) -> None:
    """At most half as many controls as pictures with boxes of each source, although the share is of all."""
    many = [one(100 + k, "train", source="new") for k in range(60)]
    few = [control(k, "train") for k in range(40)]
    cfg, data = start(records=[*RECORDS, *many], controls=few)
    assert len(normal(add_controls(cfg, data))) == 9  # of 18 pictures; 15 % of all 78 would be 14


@pytest.mark.parametrize(("share", "train", "val"), [(0.1, 2, 1), (0.25, 6, 3), (0.3, 8, 3), (1 / 3, 9, 3)])
def test_the_share_is_of_all_pictures_to_one_picture(
    start: Start, share: float, train: int, val: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, data = start(f"data.controls={share}")
    added = add_controls(cfg, data)
    assert added.records[: len(RECORDS)] == data.records == RECORDS
    assert Counter(r.split for r in added.records[len(RECORDS) :]) == {"train": train, "val": val}
    assert count_controls(RECORDS[:9] * 2, 0.1) == 1 and count_controls([], 0.5) == 0  # pictures, not records
    assert [count_controls([one(k, "train") for k in range(90)], s) for s in (0.1, 0.001, 0.5)] == [10, 1, 90]
    assert ("all are used" in capsys.readouterr().out) == (val == 3 and share != 0.25)


def test_none_is_as_before_to_the_bit(start: Start) -> None:
    cfg, data = start("data.controls=0")
    run = Path(cfg.paths.run_dir)
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    (run / "controls.jsonl").write_text("not even read")
    assert add_controls(cfg, data) is data
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == {
        **before,
        "controls.jsonl": b"not even read",
    }


def test_by_default_some_are_controls_where_there_are_some(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    cfg, data = start()
    assert cfg.data.controls is None
    assert Counter(r.split for r in add_controls(cfg, data).records[len(RECORDS) :]) == {"train": 3, "val": 2}
    told = "normal pictures among those trained on: 3 of synthetic; data.controls=0 takes none"
    assert capsys.readouterr().out.strip() == told
    cfg, data = start(controls=[])
    (Path(cfg.paths.run_dir) / "controls.jsonl").unlink()
    assert add_controls(cfg, data) is data
    assert not capsys.readouterr().out


def test_a_control_is_asked_as_its_source_and_answered_without_a_box(start: Start) -> None:
    given = [*CONTROLS, control(20, "train", source="synthetic_controls")]
    cfg, data = start("data.controls=0.9", controls=[*given, control(21, "train", source="new")])  # of no record
    added = normal(add_controls(cfg, data))
    assert [r.id for r in added] == [c.id for c in given if c.split == "train"]
    assert {(r.category, r.diagnosis, r.boxes) for r in added} == {("normal", DIAGNOSIS, ())}
    assert {r.query for r in added} == {r.query for r in RECORDS}  # they take turns
    assert all(r.provenance["annotator"] == "controls" for r in added)


def test_the_split_seed_draws_and_fewer_are_among_more(start: Start) -> None:
    drawn = {}
    for seed in (0, 1):
        for share in (0.1, 0.25):
            cfg, data = start(f"data.controls={share}", f"data.split.seed={seed}")
            drawn[seed, share] = [r.id for r in normal(add_controls(cfg, data))]
            assert drawn[seed, share] == [r.id for r in normal(add_controls(cfg, data))]
    assert set(drawn[0, 0.1]) < set(drawn[0, 0.25]) and set(drawn[1, 0.1]) < set(drawn[1, 0.25])
    assert drawn[0, 0.25] != drawn[1, 0.25]
    assert draw_controls(CONTROLS, 99, 0) == CONTROLS


def test_no_test_picture_and_no_patient_of_another_split_is_trained_on(start: Start) -> None:
    """A study of the unseen moves records after the controls were split."""
    moved = [replace(c, group="27") if c.id == "normal/3" else c for c in CONTROLS]  # record 27 is tested
    unseen = [control(30, "train", source="new"), control(31, "train", source="new_controls")]
    records = [*RECORDS, one(50, "test", source="new")]
    cfg, data = start("data.controls=0.9", records=records, controls=[*moved, *unseen])
    added = add_controls(cfg, data)
    assert {r.id for r in normal(added)} == {f"normal/{k}" for k in range(9) if k != 3}
    assert {r.id for r in normal(added, "val")} == {f"normal/{k}" for k in range(9, 12)} and not normal(added, "test")


def test_fewer_than_asked_are_told_in_one_line(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    cfg, data = start("data.controls=0.5", controls=CONTROLS[:9])
    add_controls(cfg, data)
    message = capsys.readouterr().out
    assert message.count("\n") == 1 and message.endswith(
        "controls.jsonl has 9 of the 18 train controls that this takes and 0 of the 9 val controls that this takes: "
        "all are used\n"
    )


@pytest.mark.parametrize("share", ["1", "1.5", "-0.1", "much", "true", "nan", ".inf", "[0.1]"])
def test_what_is_no_share_is_refused_before_anything_long(tmp_path: Path, share: str) -> None:
    cfg = composed(f"data.controls={share}", f"paths.run_dir={tmp_path}", "logger=none")
    with pytest.raises(InputError, match="^data.controls=.*: a share of at least 0 and below 1 is expected"):
        check_stage(cfg, cfg.method)


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ([], "no controls.jsonl beside the records, so it has no normal picture"),
        (CONTROLS[9:], r"controls.jsonl has no normal picture of a source that is trained on: add .*data.controls=0"),
        ([control(0, "train", source="synthetic_other")], "no folder is known for synthetic_other: keep sources.json"),
    ],
)
def test_what_cannot_be_added_is_told_in_one_line(start: Start, controls: list[Record], message: str) -> None:
    cfg, data = start("data.controls=0.1", controls=controls)
    with pytest.raises(InputError, match=message) as error:
        add_controls(cfg, data)
    assert "\n" not in str(error.value)


def test_the_file_of_records_says_what_was_trained_on_and_others_read_it_as_before(start: Start) -> None:
    cfg, data = start("data.controls=0.25")
    added = add_controls(cfg, data)
    run = Path(cfg.paths.run_dir)
    assert read_records(run / "records.jsonl") == list(added.records) == list(read_record_set(run).records)
    assert load_or_annotate(cfg).records == data.records  # a resumed run begins with the same
    assert read_records(run / "records.jsonl") == list(added.records)  # and what the file holds stays
    assert add_controls(cfg, data).records == added.records == read_records(run / "records.jsonl")
    cfg.records, cfg.paths.run_dir = str(run / "records.jsonl"), str(run.parent / "other")
    assert load_or_annotate(cfg).records == data.records  # of a run that trains on no control
    assert add_controls(cfg, data).records == added.records  # the file lies beside the given records
    assert read_records(run.parent / "other" / "records.jsonl") == list(added.records)
    cfg.data.controls = 0
    assert add_controls(cfg, data) is data and read_records(run.parent / "other" / "records.jsonl") == RECORDS


def test_a_part_of_the_records_has_the_same_share(start: Start) -> None:
    cfg, data = start("data.controls=0.25", "data.fraction=0.5")
    kept = keep_fraction(cfg, add_controls(cfg, data))
    assert (sum(r.split == "train" for r in kept.records), len(normal(kept)), len(normal(kept, "val"))) == (12, 3, 3)


def test_evaluation_asks_the_same_questions(start: Start, tiny_folder: Path) -> None:
    """And trained controls are known to the search for leaks."""
    asked = []
    small = ["task=evaluate", "data/benchmark=[]", f"model.path={tiny_folder}", "~model.processor.step"]
    for share in (0, 0.25):
        cfg, data = start(f"data.controls={share}", *small)
        mau = EvaluationSet(cfg, data, trained_on=add_controls(cfg, data)).data.benchmarks["mau"]
        asked.append((mau.questions(), mau.controls()))
        trained = read_record_set(Path(cfg.paths.run_dir))
        for again in (load_or_annotate(cfg), trained):
            asked.append(((of := EvaluationSet(cfg, again).data.benchmarks["mau"]).questions(), of.controls()))
    assert len(asked) == 6 and all(each == asked[0] for each in asked)
    assert [q.id for q in asked[0][1]] == ["normal/12", "normal/13", "normal/14"]


def test_batches_know_controls_and_validation_keeps_its_records(start: Start) -> None:
    cfg, data = start("data.controls=0.3", controls=[replace(c, source="synthetic_controls") for c in CONTROLS])
    added = add_controls(cfg, data)
    options: Any = {"batch_size": 2, "seed": 0, "every": 1, "val_samples": 4, "processor": None}
    before, after = (MauDataModule(d.records, d.roots, **options) for d in (data, added))
    assert after.split("val", 4).records[:4] == before.split("val", 4).records
    assert len(after.split("val", 4)) == 6 and len(after.split("val")) == 12  # 3 controls of 9 records
    assert before.split("train").records == after.split("train").records[:18] and len(after.split("train")) == 26
    assert after.split("train").others == before.split("train").others
    assert group_positions(added.records, "by_source") == [list(range(len(added.records)))]
    categories = group_positions(added.records, "by_category") or []
    assert len(categories) == 4 and sorted(map(len, categories))[-1] == 11
