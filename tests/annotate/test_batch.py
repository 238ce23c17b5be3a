"""The Batch API against a small endpoint that keeps files and batches."""

import json
from typing import Any

import pytest
from loopback import good, is_reflection, note, texts_of

from umed.annotate import batch as batches
from umed.annotate.base import Stopped


def killed(*_: object, **__: object) -> Any:
    raise KeyboardInterrupt


def leave_open(annotate, records, monkeypatch):
    """Submit a batch and end before it does."""
    with monkeypatch.context() as patch, pytest.raises(Stopped, match="interrupted"):
        patch.setattr("openai.resources.batches.AsyncBatches.retrieve", killed)
        annotate(records, batch=True)


def test_turns_and_repairs_are_further_batches(annotate, shop, make_records, tmp_path):
    def reply(body: dict[str, Any]) -> str:
        return good(body, category="x") if is_reflection(body) and len(texts_of(body)) < 5 else good(body)

    shop.reply = reply
    records = make_records(4)
    done = annotate(records, batch=True)
    assert all(r.diagnosis and note(r)["repairs"] == 1 for r in done) and [r.id for r in done] == [
        r.id for r in records
    ]
    assert len(shop.batches) == 3 and len(shop.asked) == len(set(shop.asked)) == 12
    assert annotate(records, batch=True) == done and len(shop.batches) == 3
    assert annotate(records, batch=False) == done
    assert not list((tmp_path / "run").glob("*.part"))


def test_batches_are_split(annotate, shop, monkeypatch):
    monkeypatch.setattr(batches, "MOST_REQUESTS", 3)
    assert all(r.diagnosis for r in annotate(7, batch=True))
    assert len(shop.batches) == 6
    most = max(len(shop.files[b["input_file_id"]].encode()) for b in shop.batches.values()) * 3 // 4
    monkeypatch.setattr(batches, "MOST_REQUESTS", 50)
    monkeypatch.setattr(batches, "MOST_BYTES", most)  # no three of the second turn
    assert all(r.diagnosis for r in annotate(7, batch=True, model="n"))
    later = list(shop.batches.values())[6:]
    assert len(later) >= 7 and all(len(shop.files[b["input_file_id"]].encode()) <= most for b in later)


@pytest.mark.parametrize("moment", ["before create", "after create", "polling", "reading"])
def test_a_killed_run_picks_up_its_batch(annotate, shop, make_records, monkeypatch, moment):
    records = make_records(3)

    with monkeypatch.context() as patch:
        patch.setattr(
            {
                "before create": "openai.resources.batches.AsyncBatches.create",
                "after create": "umed.llm.journal.Journal.note_submitted",
                "polling": "openai.resources.batches.AsyncBatches.retrieve",
                "reading": "umed.llm.journal.Journal.end_batch",
            }[moment],
            killed,
        )
        with pytest.raises(Stopped, match="annotator: interrupted; 0 of 3 records are done"):
            annotate(records, batch=True)
    assert len(shop.batches) == (moment != "before create")
    done = annotate(records, batch=True)
    assert all(r.diagnosis for r in done)
    assert len(shop.batches) == 2 and len(set(shop.asked)) == len(shop.asked) == 6


def test_a_batch_under_way_is_waited_for_without_the_batch_option_too(shop, annotate, serve, monkeypatch):
    leave_open(annotate, 3, monkeypatch)
    came = serve(clear=False)
    assert all(r.diagnosis for r in annotate(3, batch=False))
    assert len(shop.asked) == 3 and [is_reflection(b) for b in came] == [True] * 3


@pytest.mark.parametrize("status", ["failed", "expired"])
def test_what_a_batch_leaves_out_is_tried_once_more(annotate, shop, status):
    """An expired or cancelled batch has answered two requests: these are paid and kept."""
    shop.fate = lambda number: status if number == 0 else "completed"
    assert all(r.diagnosis for r in annotate(4, batch=True))
    again = len(shop.asked) - len(set(shop.asked))
    assert again == (4 if status == "failed" else 2)


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_what_two_batches_leave_out_has_failed_for_now(annotate, shop, status):
    annotate(1, batch=True)  # two batches that go well
    shop.fate = lambda number: status
    done = annotate(6, batch=True)
    failed = [note(r)["reason"] for r in done if not r.diagnosis]
    why = " (too many tokens)" if status == "failed" else ""
    assert failed == [f"no answer: its batch ended as {status}{why}"] * (5 if status == "failed" else 3)
    shop.fate = lambda number: "completed"
    assert all(r.diagnosis for r in annotate(done, batch=True))


@pytest.mark.parametrize("status", [400, 404, 422, 500, 501])
def test_a_line_that_fails_and_a_refused_format(annotate, shop, status):
    formats: list[bool] = []

    def reply(body: dict[str, Any]) -> str | int:
        formats.append("response_format" in body)
        if formats[-1]:
            return status
        return 500 if "cyst" in texts_of(body)[1][1] else good(body)

    shop.reply = reply
    first, second = annotate(2, batch=True)
    assert first.diagnosis and note(second)["reason"] == "no answer: status 500 in a batch"
    assert formats == [True, True, False, False, False], "remembered"


def test_a_line_that_failed_with_a_format_that_others_were_granted_leaves_it_on(annotate, shop):
    formats: list[bool] = []

    def reply(body: dict[str, Any]) -> str | int:
        formats.append("response_format" in body)
        return 500 if len(formats) == 1 else good(body)

    shop.reply = reply
    assert all(r.diagnosis for r in annotate(2, batch=True)) and formats.count(False) == 1 and formats[-1]


def test_a_setting_that_a_batch_refuses_is_named(annotate, shop):
    shop.reply, shop.words = lambda _: 400, "'temperature' takes no other value than its default"
    with pytest.raises(Stopped, match=r"status 400: .* in a batch.*refuses temperature: change annotator.request.temp"):
        annotate(3, batch=True)


def test_the_cap_holds_for_batches(annotate, shop):
    tight = {"price": {"input": 1.0, "output": 10.0}, "output_tokens": {"expected": 50, "at_most": 60}, "batch": True}
    with pytest.raises(Stopped, match=r"max_cost=0.01 .*to go"):
        annotate(20, **tight, max_cost=0.01)
    assert 0.008 < len(shop.asked) * 6e-4 <= 0.01
    assert all(r.diagnosis for r in annotate(20, **tight))
    assert len(shop.asked) == len(set(shop.asked)) == 40


def test_an_endpoint_without_batches_is_told(annotate, httpserver):
    with pytest.raises(Stopped, match="status 5.*annotator.base_url") as stop:
        annotate(2, batch=True, tries=1)
    assert "\n" not in str(stop.value) and not any(r.diagnosis for r in stop.value.records)
    httpserver.clear()


@pytest.mark.parametrize(("lost", "batch"), [("batch", True), ("results", False)])
def test_a_batch_that_the_endpoint_has_forgotten_is_asked_again(
    annotate, shop, serve, make_records, monkeypatch, caplog, lost, batch
):
    records = make_records(3)
    leave_open(annotate, records, monkeypatch)
    if lost == "batch":
        shop.batches["gone"] = shop.batches.pop("batch-0")  # so that the next one has another id
    else:
        shop.batches["batch-0"].update(status="completed", output_file_id="file-gone")
    if not batch:
        serve(clear=False)
    assert all(r.diagnosis for r in annotate(records, batch=batch))
    told = [r.getMessage() for r in caplog.records if r.name == "umed.annotate.batch"]
    assert len(told) == 1 and "batch-0" in told[0] and "asking again" in told[0]
    assert len(shop.batches) == (3 if batch else 1)
    assert annotate(records, batch=batch) and len(shop.batches) == (3 if batch else 1)


def test_a_batch_of_another_endpoint_is_not_waited_for(annotate, shop, serve, make_records, monkeypatch, httpserver):
    records = make_records(2)
    leave_open(annotate, records, monkeypatch)
    polls = shop.batches["batch-0"]["polls"]
    came = serve(clear=False)
    other = httpserver.url_for("/v1").replace("127.0.0.1", "localhost")
    assert all(r.diagnosis for r in annotate(records, base_url=other))
    assert len(came) == 4 and shop.batches["batch-0"]["polls"] == polls
    annotate(records, batch=True)
    assert shop.batches["batch-0"]["polls"] > polls, "its own endpoint is still asked"


def test_a_refused_line_leaves_the_format_to_the_others(annotate, shop):
    """One record is refused for something else, with the format and without."""
    formats: list[bool] = []

    def reply(body: dict[str, Any]) -> str | int:
        formats.append("response_format" in body)
        return 400 if "cyst" in texts_of(body)[1][1] else good(body)

    shop.reply = reply
    done = annotate(3, batch=True)
    assert [bool(r.diagnosis) for r in done] == [True, False, True]
    assert formats.count(False) == 1 and formats[-1], "only the refused one, once"


def test_a_lone_surrogate_in_a_batch_is_repaired(annotate, shop):
    shop.is_ascii = True
    shop.reply = lambda body: good(body) if len(texts_of(body)) > 2 else json.dumps({"a": 1})[:-1] + "\ud83d"
    assert all(r.diagnosis for r in annotate(1, batch=True))


def test_nothing_heard_under_a_cap_ends_the_run(annotate, shop):
    shop.reply = lambda _: 500
    with pytest.raises(Stopped, match="brings no answer .status 500 in a batch.*0 of 20 records are done"):
        annotate(20, batch=True, price={"input": 1.0, "output": 10.0}, max_cost=9.0)
    assert len(shop.batches) == 8
