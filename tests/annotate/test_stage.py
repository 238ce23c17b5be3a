"""The records of a run, by `task=annotate` with the paid annotator: what is printed, written and handed on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from composed import composed
from loopback import good, texts_of
from omegaconf import DictConfig
from pytest_httpserver import HTTPServer
from served import SECRET
from werkzeug import Response

from umed import tasks
from umed.annotate.stage import load_or_annotate
from umed.errors import InputError
from umed.records import Record, read_records
from umed.run_files import read_metrics, write_jsonl

Make = Callable[..., Any]
PRICES = ["annotator.price.input=1", "annotator.price.output=10"]


@pytest.fixture
def given(tmp_path: Path, make_records: Make, roots: dict[str, Path]) -> Callable[..., list[Record]]:
    """`given(n)`: a file of n records with the note of their folder."""

    def write(count: int) -> list[Record]:
        records: list[Record] = make_records(count)
        write_jsonl(tmp_path / "given" / "records.jsonl", (r.to_json() for r in records))
        note = json.dumps({name: str(root) for name, root in roots.items()})
        (tmp_path / "given" / "sources.json").write_text(note)
        return records

    return write


@pytest.fixture
def cfg(tmp_path: Path, httpserver: HTTPServer) -> Callable[..., DictConfig]:
    def build(*overrides: str) -> DictConfig:
        fixed = [
            "task=annotate", "annotator=openai", f"records={tmp_path / 'given' / 'records.jsonl'}",
            f"paths.run_dir={tmp_path / 'run'}", "annotator.backoff=0.01", "annotator.tries=2",
            f"annotator.base_url={httpserver.url_for('/v1')}",
        ]  # fmt: skip
        return composed(*fixed, *overrides)

    return build


def refused(capsys: pytest.CaptureFixture[str], cfg: DictConfig) -> str:
    with pytest.raises(SystemExit) as stop:
        tasks.run(cfg)
    assert stop.value.code == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def spoiled(body: dict[str, Any]) -> str:
    """Replies for cysts are wrong."""
    return "no" if "cyst" in texts_of(body)[1][1] else good(body)


def test_what_is_printed_written_and_handed_on(cfg, serve, given, tmp_path, capsys):
    came, records = serve(spoiled), given(5)
    tasks.run(cfg(*PRICES))
    out = capsys.readouterr().out
    assert "3 of 5 records with query and diagnosis" in out and "failed: 2 x diagnosis: no JSON object" in out
    assert "tokens: 1,000 in, 500 out; cost: $0.0060" in out
    written = read_records(tmp_path / "run" / "records.jsonl")
    assert [r.id for r in written] == [r.id for r in records]
    assert [bool(r.diagnosis) for r in written] == [True, False, True, False, True]
    assert read_metrics(tmp_path / "run") == {"annotate/ok": 3, "annotate/failed": 2, "annotate/cost_usd": 0.006}
    assert json.loads((tmp_path / "run" / "sources.json").read_text()) == {"s": str(tmp_path / "pictures")}
    assert len(came) == 10
    data = load_or_annotate(cfg(*PRICES))
    assert [r.id for r in data.records] == ["s/0", "s/2", "s/4"] and data.records[0] == written[0]
    again = load_or_annotate(cfg("records=null", *PRICES))
    assert again.records == data.records and len(came) == 10, "from the run's own records too"
    files = [p for p in (tmp_path / "run").rglob("*") if p.is_file()]
    assert len(files) >= 4 and not any(b"never-show-me" in p.read_bytes() for p in files)


def test_only_what_has_no_diagnosis_is_annotated(cfg, serve, given, tmp_path):
    came, records = serve(), given(4)
    done = replace(records[1], query="What?", diagnosis="An expert's words <region>.")
    write_jsonl(tmp_path / "given" / "records.jsonl", (r.to_json() for r in (records[0], done, *records[2:])))
    data = load_or_annotate(cfg())
    assert [r.id for r in data.records] == [r.id for r in records] and data.records[1] == done
    assert len(came) == 6


def test_what_an_expert_rejected_is_not_written_anew(cfg, serve, given, tmp_path):
    came, records = serve(), given(3)
    rejected = replace(records[1], provenance={"annotator": "openai", "review": {"status": "rejected"}})
    write_jsonl(tmp_path / "given" / "records.jsonl", (r.to_json() for r in (records[0], rejected, records[2])))
    assert [r.id for r in load_or_annotate(cfg()).records] == ["s/0", "s/2"] and len(came) == 4
    assert read_records(tmp_path / "run" / "records.jsonl")[1] == rejected


def test_reviews_in_the_run_folder_are_not_written_over(cfg, serve, given, tmp_path):
    came, records = serve(), given(3)
    load_or_annotate(cfg())
    run = tmp_path / "run" / "records.jsonl"
    done = read_records(run)
    edited = replace(done[1], diagnosis="Mine <region>.", provenance={"review": {"status": "edited"}})
    write_jsonl(run, (r.to_json() for r in (done[0], edited, done[2])))
    assert load_or_annotate(cfg()).records[1].diagnosis == "Mine <region>." and len(came) == 6
    assert read_records(run)[1] == edited
    write_jsonl(tmp_path / "given" / "records.jsonl", (r.to_json() for r in records[:2]))
    with pytest.raises(InputError, match="holds 1 reviewed records"):
        load_or_annotate(cfg())
    assert read_records(run)[1] == edited


def test_a_study_of_the_unseen_can_be_made_of_given_records(cfg, given, tmp_path, capsys):
    records = given(4)
    splits = ("train", "val", "test", "train")
    kinds = ("CT", "CT", "CT", "MR")
    known = [
        replace(r, split=s, modality=m, group=r.id, query="q", diagnosis="d <region>")
        for r, s, m in zip(records, splits, kinds, strict=True)
    ]
    write_jsonl(tmp_path / "given" / "records.jsonl", (r.to_json() for r in known))
    for _ in range(2):  # what was divided so stays so
        data = load_or_annotate(cfg("data.split.unseen.modality=[MR]"))
        assert [(r.id, r.split) for r in data.records] == [("s/0", "train"), ("s/1", "val"), ("s/3", "test")]
    assert "leaves out 1 of 4 records" in capsys.readouterr().out


def test_what_one_annotator_failed_at_is_not_for_another(cfg, serve, given, tmp_path):
    serve(spoiled)
    given(3)
    load_or_annotate(cfg())
    mixed = [*read_records(tmp_path / "run" / "records.jsonl"), replace(given(4)[3], id="s/new")]
    write_jsonl(tmp_path / "run" / "records.jsonl", (r.to_json() for r in mixed))
    offline = cfg("records=null")
    offline.annotator = {"_target_": "umed.annotate.offline.OfflineAnnotator"}
    data = load_or_annotate(offline)
    assert [r.provenance["annotator"] for r in data.records] == ["openai", "openai", "offline"]
    assert [r.id for r in read_records(tmp_path / "run" / "records.jsonl")] == ["s/0", "s/1", "s/2", "s/new"]


def test_none_is_one_line(cfg, serve, given, tmp_path, capsys):
    serve(lambda _: "no")
    given(2)
    line = refused(capsys, cfg())
    assert "none of 2 records could be annotated (2 x diagnosis: no JSON object)" in line
    assert [r.diagnosis for r in read_records(tmp_path / "run" / "records.jsonl")] == ["", ""]


def test_a_dry_run_writes_no_records(cfg, serve, given, tmp_path, capsys, monkeypatch):
    came = serve()
    given(3)
    monkeypatch.delenv("OPENAI_API_KEY")
    tasks.run(cfg("annotator.dry_run=true", *PRICES))
    out = capsys.readouterr().out
    assert "3 records to annotate" in out and "estimated cost: about $" in out and not came
    assert not (tmp_path / "run" / "records.jsonl").exists() and not (tmp_path / "run" / "annotate.sqlite").exists()


def test_wrong_input_is_one_line(cfg, given, capsys, monkeypatch):
    given(2)
    assert "annotator.api=legacy: input should be" in refused(capsys, cfg("annotator.api=legacy"))
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "set the environment variable OPENAI_API_KEY" in refused(capsys, cfg("annotator.base_url=null"))


def test_a_refusal_leaves_the_other_records_as_they_were(cfg, serve, given, tmp_path, capsys):
    came = serve(lambda body: good(body) if len(came) <= 4 else Response(f"bad key {SECRET}", 401))
    records = given(9)
    line = refused(capsys, cfg("annotator.concurrency=1"))
    assert "status 401" in line and "2 of 9 records are done" in line and SECRET not in line
    written = read_records(tmp_path / "run" / "records.jsonl")
    assert [bool(r.diagnosis) for r in written] == [True] * 2 + [False] * 7 and written[2:] == records[2:]
    assert read_metrics(tmp_path / "run") == {"annotate/ok": 2, "annotate/failed": 7}
    serve()
    tasks.run(cfg())
    assert "9 of 9 records" in capsys.readouterr().out
