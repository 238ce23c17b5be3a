"""What becomes of a run whose judge fails: always, from some time on, or for some answers."""

import threading
from typing import Any

import pytest
from judging import answer_in, closed_address, items, verdict
from served import SECRET, completion, json_response
from werkzeug import Response

from umed.errors import InputError
from umed.judges.base import JudgeItem


@pytest.mark.parametrize(
    ("response", "reason", "most"),
    [
        *((Response("model is loading", s), f"status {s}", 2 * 2) for s in (503, 429, 408, 405)),
        (Response("", 500), "status 500", 2 * (2 + 1)),  # once without a response format
        (json_response({"error": {"message": f"Incorrect {SECRET[:8]}***"}}, 401), "status 401", 2),
        (json_response({"error": {"message": "no model `m`"}}, 404), "status 404: .*no model", 2 * 2),
        (json_response({"error": {"code": "insufficient_quota"}}, 429), "status 429 .insufficient_quota.", 2),
    ],
)
def test_an_endpoint_that_only_fails_is_one_line(
    serve: Any, make: Any, response: Response, reason: str, most: int
) -> None:
    came = serve(lambda body: response)
    advice = "check judge.base_url, judge.model and OPENAI_API_KEY"
    with pytest.raises(InputError, match=f"^judge: http.* judged none of 40 answers .{reason}.*{advice}") as error:
        make(concurrency=2, max_retries=1)(items(*map(str, range(40))))
    assert "\n" not in str(error.value) and "resume=RUN_DIR" in str(error.value) and error.value.__cause__ is None
    assert SECRET[:8] not in str(error.value), "a refusal of the key quotes its ends"
    assert len(came) <= most, "not every answer is asked for"


def test_a_server_that_is_not_there_is_one_line(make: Any, clock: Any) -> None:
    address = closed_address()
    with pytest.raises(InputError, match="none of 40 answers .no connection.") as error:
        make(base_url=f"http://user:password@{address}", concurrency=2, max_retries=1)(items(*map(str, range(40))))
    told = str(error.value)
    assert "\n" not in told and f"http://{address}" in told and "password" not in told and SECRET not in told
    assert len(clock.waits) == 2, "not every answer is waited for"


def test_a_setting_that_the_endpoint_refuses_is_named(serve: Any, make: Any) -> None:
    words = {"error": {"message": "'temperature' takes no other value than its default here"}}
    serve(lambda body: json_response(words, 400))
    with pytest.raises(InputError, match="refuses temperature: change judge.request.temperature, or leave"):
        make(request={"temperature": 0})(items("a"))
    came = serve(lambda body: verdict(0.5))
    assert make(request={"temperature": None})(items("a"))[0].score == 0.5 and "temperature" not in came[0]


def test_an_endpoint_that_has_never_answered_has_less_patience(serve: Any, make: Any, clock: Any) -> None:
    came = serve(lambda body: Response("", 429, {"Retry-After": "100"}) if len(came) == 1 else verdict(0.5))
    judge = make(patience=300.0)
    with pytest.raises(InputError, match="none of 1 answers .status 429"):
        judge(items("a"))
    assert len(came) == 1 and not clock.waits, "100 s are more than UNHEARD"
    assert judge(items("b"))[0].score == 0.5
    came.clear()
    assert judge(items("a"))[0].score == 0.5 and 100 <= clock.waits[0] < 101 and len(came) == 2


def test_an_endpoint_that_hangs_is_waited_for_once(serve: Any, make: Any) -> None:
    over = threading.Event()
    came = serve(lambda body: (over.wait(20), verdict(0.5))[1])
    try:
        with pytest.raises(InputError, match="judged none of 40 answers .time-out.: .*judge.base_url"):
            make(timeout=0.3, max_retries=0, concurrency=2)(items(*map(str, range(40))))
    finally:
        over.set()
    assert len(came) <= 2, "one group of requests, not twenty"


@pytest.mark.parametrize("failure", [Response("", 503), completion("no score")])
def test_batches_in_a_row_without_a_verdict_end_the_run(serve: Any, make: Any, failure: Response) -> None:
    fails = False
    serve(lambda body: failure if fails else verdict(0.5))
    judge = make(max_retries=0)
    for good, *bad in (("a", "bc", "d"), ("e", "bc", "d")):  # one verdict, and the count begins anew
        fails = False
        judge(items(good))
        fails = True
        assert [v.score for answers in bad for v in judge(items(*answers))] == [None] * 3
    judge([JudgeItem("What?", " ", "x", "stone")])  # nothing was asked
    told = "check judge.base_url" if failure.status_code == 503 else "not as asked: check judge.model, judge.prompt"
    with pytest.raises(InputError, match=f"3 batches in a row .*{told}.*resume=") as error:
        judge(items("f", "g"))
    assert "\n" not in str(error.value)


def test_one_bad_answer_does_not_cost_the_others_theirs(serve: Any, make: Any) -> None:
    came = serve(lambda body: Response("", 500) if answer_in(body) == "bad" else verdict(0.5))
    judge = make(concurrency=1, max_retries=2)
    judge(items("a"))
    bad, *fine = judge(items("bad", "b", "c"))
    assert (bad.score, bad.reason) == (None, "status 500") and [v.score for v in fine] == [0.5, 0.5]
    assert [answer_in(body) for body in came].count("bad") == 3


def test_what_arrived_before_a_refusal_is_kept(serve: Any, make: Any) -> None:
    serve(lambda body: verdict(0.5) if answer_in(body) == "a" else Response("", 401))
    judge = make(concurrency=1)
    assert [v.score for v in judge(items("a", "b"))] == [0.5, None]
    with pytest.raises(InputError, match="status 401"):
        judge(items("a", "b"))
    assert judge(items("a"))[0].score == 0.5


def test_an_outage_after_the_first_answer_is_a_failure_and_not_the_end(
    serve: Any, make: Any, monkeypatch: pytest.MonkeyPatch, clock: Any
) -> None:
    serve(lambda body: verdict(0.5))
    judge = make(max_retries=1, concurrency=2)
    judge(items("a"))
    monkeypatch.setattr(judge._endpoint, "base_url", f"http://{closed_address()}")
    first, *others = judge(items("a", *"bcdefgh"))
    assert first.score == 0.5 and [(v.score, v.reason) for v in others] == [(None, "no connection")] * 7
    assert len(clock.waits) < 7, "not every answer is waited for"
