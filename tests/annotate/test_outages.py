"""What becomes of a run whose endpoint refuses, fails or is not there."""

import json
from typing import Any

import pytest
from loopback import good, note, texts_of
from served import SECRET
from werkzeug import Response

from umed.annotate.base import Stopped
from umed.errors import InputError


def test_a_request_that_keeps_failing_fails_its_record_for_now(annotate, serve, make_records):
    is_down = True

    def reply(body: dict[str, Any]) -> str | Response:
        return Response("", 502) if is_down and "kidney" in texts_of(body)[1][1] else good(body)

    came, records = serve(reply), make_records(2)
    bad, fine = annotate(records)
    assert note(bad)["reason"] == "no answer: status 502" and fine.diagnosis and len(came) == 3 + 2
    is_down = False
    again = annotate([bad, fine])
    assert again[0].diagnosis and again[1] == fine and len(came) == 5 + 2


@pytest.mark.parametrize(("status", "body"), [(401, ""), (429, '{"error": {"code": "insufficient_quota"}}')])
def test_a_refusal_ends_the_run_with_one_line_and_loses_nothing(annotate, serve, make_records, status, body):
    came, records = serve(lambda _: Response(body, status, content_type="application/json")), make_records(20)
    with pytest.raises(Stopped, match=f"status {status}.*annotator.base_url.*0 of 20 records are done") as stop:
        annotate(records, concurrency=2)
    assert "\n" not in str(stop.value) and SECRET not in str(stop.value)
    assert stop.value.records == records and len(came) <= 6, "not every record is asked for"


def test_a_quota_that_ends_on_the_way_keeps_what_is_done(annotate, serve, make_records):
    quota = 10

    def reply(body: dict[str, Any]) -> str | Response:
        error = '{"error": {"code": "insufficient_quota"}}'
        return Response(error, 429, content_type="application/json") if len(came) > quota else good(body)

    came, records = serve(reply), make_records(9)
    with pytest.raises(Stopped, match="5 of 9 records are done, 4 to go") as stop:
        annotate(records, concurrency=1)
    assert [bool(r.diagnosis) for r in stop.value.records] == [True] * 5 + [False] * 4
    quota = 1000
    assert all(r.diagnosis for r in annotate(records))
    answered = [b["idempotency"] for b in came]
    assert len(set(answered)) == 18 and len(answered) == 18 + 4


def test_settings_that_the_endpoint_refuses_and_an_endpoint_that_is_not_there(annotate, serve):
    words = json.dumps({"error": {"message": "'temperature' takes no other value than its default"}})
    serve(lambda _: Response(words, 400, content_type="application/json"))
    with pytest.raises(Stopped, match="refuses temperature: change annotator.request.temperature"):
        annotate(9)
    with pytest.raises(Stopped, match="http://127.0.0.1:9/v1 brings no answer .no connection.") as stop:
        annotate(2, base_url="http://user:password@127.0.0.1:9/v1")
    assert "password" not in str(stop.value) and "\n" not in str(stop.value)


def test_no_key(annotate, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="annotator: no key for https://api.openai.com/v1: set the environment"):
        annotate(1, base_url=None)
