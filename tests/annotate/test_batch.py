"""The Batch API against a small endpoint that keeps files and batches."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from loopback import answer, good, is_reflection, texts_of
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from umed.annotate import batch as batches
from umed.annotate.base import Stopped

Make = Callable[..., Any]


class Shop:
    """Files and batches in memory; `fate(number)` is how the batch of that number ends, `reply(body)` a line's."""

    def __init__(self, server: HTTPServer) -> None:
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.fate: Callable[[int], str] = lambda _: "completed"
        self.reply: Callable[[dict[str, Any]], str | int] = good
        self.polls_before_end = 1
        server.expect_request("/v1/files", method="POST").respond_with_handler(self.upload)
        server.expect_request("/v1/batches", method="POST").respond_with_handler(self.create)
        server.expect_request("/v1/batches", method="GET").respond_with_handler(self.list)
        server.expect_request(re.compile("/v1/batches/.*"), method="GET").respond_with_handler(self.retrieve)
        server.expect_request(re.compile("/v1/files/.*/content")).respond_with_handler(self.content)

    @staticmethod
    def json(value: Any) -> Response:
        return Response(json.dumps(value), content_type="application/json")

    def upload(self, request: Request) -> Response:
        assert request.form["purpose"] == "batch"
        name = f"file-{len(self.files)}"
        self.files[name] = request.files["file"].read().decode()
        return self.json({"id": name, "object": "file"})

    def create(self, request: Request) -> Response:
        body = request.get_json()
        assert (body["endpoint"], body["completion_window"]) == ("/v1/chat/completions", "24h")
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {**body, "id": name, "object": "batch", "status": "in_progress", "polls": 0}
        return self.json(self.batches[name])

    def list(self, request: Request) -> Response:
        return self.json({"object": "list", "data": list(self.batches.values()), "has_more": False})

    def retrieve(self, request: Request) -> Response:
        batch = self.batches[request.path.rpartition("/")[2]]
        batch["polls"] += 1
        if batch["polls"] > self.polls_before_end and batch["status"] == "in_progress":
            batch["status"] = self.fate(int(batch["id"].split("-")[1]))
            self._work(batch)
        return self.json(batch)

    def _work(self, batch: dict[str, Any]) -> None:
        good_lines, bad_lines = [], []
        for text in self.files[batch["input_file_id"]].splitlines():
            line = json.loads(text)
            assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
            self.asked.append(line["custom_id"])
            said = self.reply(line["body"])
            if isinstance(said, int):
                response = {"status_code": said, "body": {"error": {"message": "no"}}}
                bad_lines.append({"custom_id": line["custom_id"], "response": response, "error": None})
            elif batch["status"] == "completed" or len(good_lines) < 2:  # what expires has done a part
                response = {"status_code": 200, "body": answer(line["body"], said)}
                good_lines.append({"custom_id": line["custom_id"], "response": response, "error": None})
        if batch["status"] == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "limit", "message": "too many tokens"}]}
            return
        for kind, lines in {"output": good_lines[::-1], "error": bad_lines}.items():
            if lines:
                name = f"{kind}-{batch['id']}"
                self.files[name] = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n"
                batch[f"{kind}_file_id"] = name

    def content(self, request: Request) -> Response:
        return Response(self.files[request.path.split("/")[3]], content_type="application/octet-stream")


@pytest.fixture
def shop(httpserver: HTTPServer) -> Shop:
    return Shop(httpserver)


def note(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = record.provenance["annotation"]
    return found


def test_turns_and_repairs_are_further_batches(
    shop: Shop, make: Make, make_records: Make, roots: Any, tmp_path: Any
) -> None:
    def reply(body: dict[str, Any]) -> str:
        return good(body, category="x") if is_reflection(body) and len(texts_of(body)) < 5 else good(body)

    shop.reply = reply
    records = make_records(4)
    done = make(batch=True).annotate(records, roots)
    assert all(r.diagnosis and note(r)["repairs"] == 1 for r in done) and [r.id for r in done] == [
        r.id for r in records
    ]
    assert len(shop.batches) == 3 and len(shop.asked) == len(set(shop.asked)) == 12
    assert make(batch=True).annotate(records, roots) == done and len(shop.batches) == 3
    assert make(batch=False).annotate(records, roots) == done
    assert not list((tmp_path / "run").glob("*.part"))


def test_batches_are_split(
    shop: Shop, make: Make, make_records: Make, roots: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_REQUESTS", 3)
    assert all(r.diagnosis for r in make(batch=True).annotate(make_records(7), roots))
    assert len(shop.batches) == 6
    sizes = [len(shop.files[b["input_file_id"]].encode()) for b in shop.batches.values()]
    monkeypatch.setattr(batches, "MOST_REQUESTS", 50)
    monkeypatch.setattr(batches, "MOST_BYTES", max(sizes))
    assert all(r.diagnosis for r in make(batch=True, model="n").annotate(make_records(7), roots))
    later = list(shop.batches.values())[6:]
    assert len(later) >= 6 and all(len(shop.files[b["input_file_id"]].encode()) <= max(sizes) for b in later)


@pytest.mark.parametrize("moment", ["before upload", "before create", "after create", "polling", "reading"])
def test_a_killed_run_picks_up_its_batch(
    shop: Shop, make: Make, make_records: Make, roots: Any, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    records = make_records(3)

    def killed(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "before upload":
            patch.setattr("openai.resources.files.AsyncFiles.create", killed)
        elif moment == "before create":
            patch.setattr("openai.resources.batches.AsyncBatches.create", killed)
        elif moment == "after create":
            patch.setattr("umed.annotate.journal.Journal.submitted", killed)
        elif moment == "polling":
            patch.setattr("openai.resources.batches.AsyncBatches.retrieve", killed)
        else:
            patch.setattr("umed.annotate.journal.Journal.end_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            make(batch=True).annotate(records, roots)
    assert len(shop.batches) == (moment not in ("before upload", "before create"))
    done = make(batch=True).annotate(records, roots)
    assert all(r.diagnosis for r in done)
    assert len(shop.batches) == 2 and len(set(shop.asked)) == len(shop.asked) == 6


def test_a_batch_under_way_is_waited_for_without_the_batch_option_too(
    shop: Shop, make: Make, serve: Make, make_records: Make, roots: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("openai.resources.batches.AsyncBatches.retrieve", killed)
        make(batch=True).annotate(make_records(3), roots)
    came = serve(clear=False)
    assert all(r.diagnosis for r in make(batch=False).annotate(make_records(3), roots))
    assert len(shop.asked) == 3 and [is_reflection(b) for b in came] == [True] * 3


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_what_a_batch_leaves_out_is_tried_once_more(
    shop: Shop, make: Make, make_records: Make, roots: Any, status: str
) -> None:
    """An expired or cancelled batch has answered two requests: these are paid and kept."""
    shop.fate = lambda number: status if number == 0 else "completed"
    assert all(r.diagnosis for r in make(batch=True).annotate(make_records(4), roots))
    again = len(shop.asked) - len(set(shop.asked))
    assert again == (4 if status == "failed" else 2)


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
def test_what_two_batches_leave_out_has_failed_for_now(
    shop: Shop, make: Make, make_records: Make, roots: Any, status: str
) -> None:
    make(batch=True).annotate(make_records(1), roots)  # two batches that go well
    shop.fate = lambda number: status
    done = make(batch=True).annotate(make_records(6), roots)
    failed = [note(r)["reason"] for r in done if not r.diagnosis]
    why = " (too many tokens)" if status == "failed" else ""
    assert failed == [f"no answer: its batch ended as {status}{why}"] * (5 if status == "failed" else 3)
    shop.fate = lambda number: "completed"
    assert all(r.diagnosis for r in make(batch=True).annotate(done, roots))


def test_a_line_that_fails_and_a_refused_format(shop: Shop, make: Make, make_records: Make, roots: Any) -> None:
    def reply(body: dict[str, Any]) -> str | int:
        if "response_format" in body:
            return 400
        return 500 if "cyst" in texts_of(body)[1][1] else good(body)

    shop.reply = reply
    first, second = make(batch=True).annotate(make_records(2), roots)
    assert first.diagnosis and note(second)["reason"] == "no answer: status 500 in a batch"


def test_the_cap_holds_for_batches(shop: Shop, make: Make, make_records: Make, roots: Any) -> None:
    tight = {"price": {"input": 1.0, "output": 10.0}, "output_tokens": {"expected": 50, "at_most": 60}, "batch": True}
    with pytest.raises(Stopped, match=r"max_cost=0.01 .*to go"):
        make(**tight, max_cost=0.01).annotate(make_records(20), roots)
    assert 0.008 < len(shop.asked) * 6e-4 <= 0.01
    assert all(r.diagnosis for r in make(**tight).annotate(make_records(20), roots))
    assert len(shop.asked) == len(set(shop.asked)) == 40


def test_an_endpoint_without_batches_is_told(
    httpserver: HTTPServer, make: Make, make_records: Make, roots: Any
) -> None:
    with pytest.raises(Stopped, match="status 5.*annotator.base_url") as stop:
        make(batch=True, tries=1).annotate(make_records(2), roots)
    assert "\n" not in str(stop.value) and not any(r.diagnosis for r in stop.value.records)
    httpserver.clear()
