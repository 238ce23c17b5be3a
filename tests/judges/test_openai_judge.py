"""`OpenAIJudge` against a real server on the loopback interface."""

import asyncio
import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from umed.errors import InputError
from umed.judges.base import JudgeItem
from umed.judges.openai_judge import OpenAIJudge, read_verdict

SECRET = "sk-test-0123456789-never-show-me"
PATH = "/v1/chat/completions"
PROMPT = {"system": 'Grade. Reply {"score": 0.5}.', "user": "{query}|{gold}|{answer}"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith("OPENAI_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(Path(__file__).parent))  # each client would read all certificates for none
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture(scope="module")
def make_httpserver() -> Iterator[HTTPServer]:
    """Serves several requests at once, unlike the package's own."""
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield server


def completion(content: str | None) -> Response:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    return Response(json.dumps(body), content_type="application/json")


def verdict(score: float) -> Response:
    return completion(json.dumps({"reason": "because", "score": score}))


def asked(request: Request) -> str:
    """The answer that the request is about."""
    text: str = request.get_json()["messages"][1]["content"]
    return text.rpartition("|")[2]


def items(*answers: str) -> list[JudgeItem]:
    return [JudgeItem("What?", "a stone", answer, "stone") for answer in answers]


@pytest.fixture
def make(httpserver: HTTPServer, tmp_path: Path) -> Callable[..., OpenAIJudge]:
    def build(**settings: Any) -> OpenAIJudge:
        defaults = {
            "model": "m", "base_url": httpserver.url_for("/v1"), "prompt": PROMPT, "timeout": 5.0, "max_retries": 2,
            "cache": tmp_path / "run" / "judge.sqlite",
        }  # fmt: skip
        return OpenAIJudge(**{**defaults, **settings})

    return build


def test_scores_come_in_order_and_the_request_is_as_told(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_handler(lambda r: verdict(float(asked(r))))
    answers = ["0.1", "0.9", "0.5", "0.9", "0"]
    judge = make(request={"temperature": 0, "seed": 3}, concurrency=1)
    assert [v.score for v in judge(items(*answers))] == [0.1, 0.9, 0.5, 0.9, 0.0]
    assert len(httpserver.log) == 4, "equal answers are asked for once"
    sent = httpserver.log[0][0].get_json()
    assert sent["messages"][0] == {"role": "system", "content": PROMPT["system"]}
    assert sent["messages"][1]["content"] == "What?|a stone|0.1"
    assert (sent["model"], sent["temperature"], sent["seed"]) == ("m", 0, 3)
    schema = sent["response_format"]["json_schema"]["schema"]["properties"]["score"]
    assert schema == {"type": "number", "minimum": 0, "maximum": 1}


def test_placeholders_inside_an_answer_stay_as_they_are(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_data(verdict(1).data, content_type="application/json")
    make()(items("say {gold} and {x}"))
    assert httpserver.log[0][0].get_json()["messages"][1]["content"] == "What?|a stone|say {gold} and {x}"


def test_429_is_repeated_after_the_time_the_server_asks_for(httpserver: HTTPServer, make: Any) -> None:
    times: list[float] = []

    def handler(request: Request) -> Response:
        times.append(time.monotonic())
        return Response("slow down", 429, {"Retry-After": "0.4"}) if len(times) == 1 else verdict(0.7)

    httpserver.expect_request(PATH).respond_with_handler(handler)
    assert make()(items("a"))[0].score == 0.7
    assert len(times) == 2 and times[1] - times[0] >= 0.4


def test_500_is_repeated(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_ordered_request(PATH).respond_with_data("broken", 500)
    httpserver.expect_ordered_request(PATH).respond_with_data(verdict(0.3).data, content_type="application/json")
    assert make()(items("a"))[0].score == 0.3


def test_lasting_500s_fail_that_answer_alone(httpserver: HTTPServer, make: Any) -> None:
    calls: list[str] = []

    def handler(request: Request) -> Response:
        calls.append(asked(request))
        return Response("broken", 500) if asked(request) == "bad" else verdict(0.3)

    httpserver.expect_request(PATH).respond_with_handler(handler)
    bad, good = make(max_retries=2)(items("bad", "good"))
    assert (bad.score, bad.reason, good.score) == (None, "status 500", 0.3)
    assert calls.count("bad") == 3


@pytest.mark.parametrize(
    "reply",
    [
        '{"score": 1.5}', '{"score": -0.1}', '{"score": NaN}', '{"score": "0.5"}', '{"score": true}', '{"score": null}',
        "The score is 0.8.", "0.8", "", "[0.8]", '{"score": 0.8', '{"reason": "fine"}', '{"score": 0.1} {"score": 0.9}',
        '{"a":' * 3000,
    ],
)  # fmt: skip
def test_what_is_no_verdict_is_a_failure_and_never_a_guess(reply: str) -> None:
    result = read_verdict(reply)
    assert result.score is None and result.reason


@pytest.mark.parametrize(
    "reply", ['{"score": 0.25, "reason": "r"}', 'Sure {x}:\n```json\n{"reason": "r", "score": 0.25}\n```\nDone.']
)
def test_a_verdict_is_found_in_prose(reply: str) -> None:
    assert read_verdict(reply).score == 0.25
    assert read_verdict(reply).reason == "r"


@pytest.mark.parametrize(
    "response",
    [
        completion("{'score': }"), completion(None), completion('{"reason": "", "score": 7}'),
        Response("<html>a page</html>", content_type="text/html"),
        Response("{not json", content_type="application/json"),
        Response("[]", content_type="application/json"),
        Response('{"choices": []}', content_type="application/json"),
        Response('{"choices": ["x"]}', content_type="application/json"),
        Response('{"choices": [{"message": {"content": 5}}]}', content_type="application/json"),
    ],
)  # fmt: skip
def test_garbage_fails_is_counted_and_not_kept(
    httpserver: HTTPServer, make: Any, response: Response, caplog: pytest.LogCaptureFixture
) -> None:
    httpserver.expect_request(PATH).respond_with_response(response)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            (result,) = make()(items("a"))
            assert result.score is None and result.reason
    assert "1 of 1 answers not judged" in caplog.text
    assert len(httpserver.log) == 2, "a failure is asked for again"


def test_a_silent_endpoint_fails_by_time_out(httpserver: HTTPServer, make: Any) -> None:
    over = threading.Event()

    def handler(request: Request) -> Response:
        if asked(request) == "slow":
            over.wait(30)
        return verdict(0.6)

    httpserver.expect_request(PATH).respond_with_handler(handler)
    started = time.monotonic()
    slow, fast = make(timeout=2.0, max_retries=0)(items("slow", "fast"))
    over.set()
    assert time.monotonic() - started < 20
    assert (slow.score, slow.reason, fast.score) == (None, "time-out", 0.6)


def test_patience_bounds_all_tries_of_an_answer(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_handler(
        lambda r: verdict(0.5) if asked(r) == "a" else Response("later", 429, {"Retry-After": "60"})
    )
    judge = make(patience=60)
    assert judge(items("a"))[0].score == 0.5
    judge.patience, started = 1.0, time.monotonic()
    (result,) = judge(items("b"))
    assert time.monotonic() - started < 8
    assert (result.score, result.reason) == (None, "no verdict within 1 s")


def test_at_most_so_many_requests_are_under_way(httpserver: HTTPServer, make: Any) -> None:
    lock, three, now, most = threading.Lock(), threading.Event(), 0, 0

    def handler(request: Request) -> Response:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            if now == 3:
                three.set()
        three.wait(10)
        time.sleep(0.05)
        with lock:
            now -= 1
        return verdict(0.5)

    httpserver.expect_request(PATH).respond_with_handler(handler)
    make(concurrency=3, timeout=60)(items(*"abcdefghi"))
    assert most == 3 and three.is_set()


def test_an_answer_is_never_asked_for_twice(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_handler(lambda r: verdict(0.5))
    make()(items("a", "b"))
    again = make()(items("b", "c", "a"))
    assert [v.score for v in again] == [0.5] * 3 and again[0].reason == "because"
    assert [asked(r) for r, _ in httpserver.log[2:]] == ["c"]
    make(model="other")(items("a"))
    make(prompt={**PROMPT, "system": "Be strict."})(items("a"))
    make()([JudgeItem("Which?", "a stone", "a", "stone"), JudgeItem("What?", "a cyst", "a", "stone")])
    assert len(httpserver.log) == 3 + 4, "model, prompt, query and gold belong to the key"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_run_ends_at_once_and_keeps_the_answers_that_arrived(
    httpserver: HTTPServer, make: Any, tmp_path: Path, end: signal.Signals
) -> None:
    arrived, over, calls = threading.Event(), threading.Event(), []

    def handler(request: Request) -> Response:
        calls.append(asked(request))
        if asked(request) == "c":
            arrived.set()
            over.wait(60)
        return verdict(0.5)

    httpserver.expect_request(PATH).respond_with_handler(handler)
    cache = tmp_path / "judge.sqlite"
    settings = {"model": "m", "base_url": httpserver.url_for("/v1"), "prompt": PROMPT, "cache": str(cache)}
    code = (
        "import json, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from umed.judges.base import JudgeItem; from umed.judges.openai_judge import OpenAIJudge;"
        "OpenAIJudge(**json.loads(sys.argv[1]), concurrency=1)"
        "([JudgeItem('What?', 'a stone', a, 'stone') for a in 'abc'])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    child = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(settings)], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        assert arrived.wait(30)
        child.send_signal(end)
        child.wait(30)
    finally:
        child.kill()
        child.wait()
        over.set()
    assert calls == ["a", "b", "c"]
    assert [v.score for v in make(cache=cache)(items("a", "b", "c"))] == [0.5] * 3
    assert calls == ["a", "b", "c", "c"]


def closed_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_a_dead_server_is_told_in_one_line(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 1.0)
    address = f"127.0.0.1:{closed_port()}/v1"
    started = time.monotonic()
    with pytest.raises(InputError) as error:
        make(base_url=f"http://user:password@{address}", concurrency=2, max_retries=1)(items(*map(str, range(40))))
    told = str(error.value)
    assert "\n" not in told and f"http://{address}" in told and "judge.base_url" in told
    assert "password" not in told and SECRET not in told
    assert time.monotonic() - started < 12, "not every answer is waited for"


@pytest.mark.parametrize("status", [500, 503, 429, 408, 405])
def test_an_endpoint_that_only_fails_is_told_in_one_line(httpserver: HTTPServer, make: Any, status: int) -> None:
    httpserver.expect_request(PATH).respond_with_data("model is loading", status)
    with pytest.raises(InputError, match=f"judged none of 40 answers .status {status}.: .*judge.base_url") as error:
        make(concurrency=2, max_retries=1)(items(*map(str, range(40))))
    assert "\n" not in str(error.value)
    assert len(httpserver.log) <= 4, "not every answer is asked for"


def test_an_endpoint_that_asks_to_wait_for_ever_is_told(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_data("later", 429, {"Retry-After": "60"})
    with pytest.raises(InputError, match="no verdict within 0.3 s"):
        make(patience=0.3)(items("a", "b"))


@pytest.mark.parametrize("unheard", [0.1, 90])
def test_an_endpoint_that_hangs_is_waited_for_once(
    httpserver: HTTPServer, make: Any, monkeypatch: pytest.MonkeyPatch, unheard: float
) -> None:
    """Either by its time-outs or, where those are many, by a limit below the patience."""
    monkeypatch.setattr("umed.judges.openai_judge.UNHEARD", unheard)
    over = threading.Event()

    def handler(request: Request) -> Response:
        over.wait(20)
        return verdict(0.5)

    httpserver.expect_request(PATH).respond_with_handler(handler)
    reason, retries = ("no verdict within 0.6 s", 50) if unheard < 1 else ("time-out", 1)
    started = time.monotonic()
    try:
        with pytest.raises(InputError, match=f"judged none of 40 answers .{reason}.: .*judge.base_url"):
            make(timeout=0.3, max_retries=retries, concurrency=2)(items(*map(str, range(40))))
    finally:
        over.set()
    assert time.monotonic() - started < 10, "one group of requests, not twenty"


@pytest.mark.parametrize("failure", [Response("", 503), Response("", 429), completion("no score")])
def test_an_endpoint_that_fails_for_good_ends_the_run_after_some_batches(
    httpserver: HTTPServer, make: Any, failure: Response
) -> None:
    fails = False
    httpserver.expect_request(PATH).respond_with_handler(lambda r: failure if fails else verdict(0.5))
    judge = make(max_retries=0)
    judge(items("a"))
    fails = True
    for answers in ("bc", "d"):
        assert [v.score for v in judge(items(*answers))] == [None] * len(answers)
    fails = False
    judge(items("e"))  # one verdict, and the count begins anew
    fails = True
    for answers in ("bc", "d"):
        assert [v.score for v in judge(items(*answers))] == [None] * len(answers)
    judge([JudgeItem("What?", " ", "x", "stone")])  # nothing was asked
    with pytest.raises(InputError, match="3 batches in a row .*judge.base_url.*resume=") as error:
        judge(items("f", "g"))
    assert "\n" not in str(error.value)


def test_garbage_from_the_start_ends_the_run_too(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_data("{not json", content_type="application/json")
    judge = make()
    for _ in range(2):
        assert judge(items("a"))[0].score is None
    with pytest.raises(InputError, match="3 batches in a row"):
        judge(items("a"))


def test_one_bad_answer_does_not_cost_the_others_theirs(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_handler(
        lambda r: Response("", 500) if asked(r) == "bad" else verdict(0.5)
    )
    judge = make(concurrency=1, max_retries=0)
    judge(items("a"))
    assert [v.score for v in judge(items("bad", "b", "c"))] == [None, 0.5, 0.5]


@pytest.mark.parametrize("status", [401, 403, 400])
def test_a_refusal_of_everything_is_told_without_the_key(httpserver: HTTPServer, make: Any, status: int) -> None:
    words = json.dumps({"error": {"message": f"Incorrect API key provided: {SECRET[:8]}***{SECRET[-4:]}", "code": "x"}})
    httpserver.expect_request(PATH).respond_with_data(words, status, content_type="application/json")
    with pytest.raises(InputError, match=f"status {status}.*OPENAI_API_KEY") as error:
        make()(items("a", "b"))
    assert error.value.__cause__ is None
    assert status == 400 or SECRET[:8] not in str(error.value), "a refusal of the key quotes its ends"


def test_an_unknown_model_is_told_in_the_words_of_the_server(httpserver: HTTPServer, make: Any) -> None:
    words = json.dumps({"error": {"message": "The model `m` does not exist"}})
    httpserver.expect_request(PATH).respond_with_data(words, 404, content_type="application/json")
    with pytest.raises(InputError, match="status 404: .*The model `m` does not exist.*judge.model"):
        make()(items("a", "b"))


def test_a_lack_of_quota_is_told(httpserver: HTTPServer, make: Any) -> None:
    words = json.dumps({"error": {"message": "no money", "code": "insufficient_quota"}})
    httpserver.expect_request(PATH).respond_with_data(words, 429, content_type="application/json")
    with pytest.raises(InputError, match="status 429"):
        make()(items("a"))


def test_what_arrived_before_a_refusal_is_kept(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_handler(
        lambda r: verdict(0.5) if asked(r) == "a" else Response("", 401)
    )
    judge = make()
    assert [v.score for v in judge(items("a", "b"))] == [0.5, None]
    with pytest.raises(InputError):
        judge(items("a", "b"))
    assert judge(items("a"))[0].score == 0.5


def test_an_outage_after_the_first_answer_is_a_failure_and_not_the_end(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_handler(lambda r: verdict(0.5))
    judge = make(max_retries=0)
    judge(items("a"))
    judge.base_url = f"http://127.0.0.1:{closed_port()}/v1"
    result = judge(items("a", "b", "c"))
    assert [v.score for v in result] == [0.5, None, None]
    assert result[1].reason == "no connection"


def test_a_server_without_response_formats_is_asked_without(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_handler(
        lambda r: Response("unknown field", 400) if "response_format" in r.get_json() else verdict(0.5)
    )
    judge = make(concurrency=1)
    assert [v.score for v in judge(items("a", "b"))] == [0.5, 0.5]
    assert ["response_format" in r.get_json() for r, _ in httpserver.log] == [True, False, False]


def test_the_key_is_nowhere(
    httpserver: HTTPServer, make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    httpserver.expect_request(PATH).respond_with_handler(
        lambda r: verdict(0.5) if asked(r) == "a" else Response(f"key {SECRET}", 400)
    )
    with caplog.at_level(logging.DEBUG):
        judge = make()
        results = judge(items("a", "b"))
    assert httpserver.log[0][0].headers["Authorization"] == f"Bearer {SECRET}"
    assert results[1].score is None
    for shown in (repr(judge), repr(vars(judge)), repr(results), caplog.text):
        assert SECRET not in shown
    assert SECRET.encode() not in pickle.dumps(judge)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert files and all(SECRET.encode() not in p.read_bytes() for p in files)


def test_a_missing_key_is_told_before_the_run(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        make(base_url=None)


def test_a_key_with_a_line_break_inside_is_told_and_not_shown(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-one\nsk-two")
    with pytest.raises(InputError, match="OPENAI_API_KEY") as error:
        make()
    assert "sk-" not in str(error.value)


def test_a_local_server_needs_no_key(httpserver: HTTPServer, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    httpserver.expect_request(PATH).respond_with_handler(lambda r: verdict(0.5))
    assert make()(items("a"))[0].score == 0.5
    assert httpserver.log[0][0].headers["Authorization"] == "Bearer none"


def test_it_works_inside_a_running_event_loop(httpserver: HTTPServer, make: Any) -> None:
    httpserver.expect_request(PATH).respond_with_handler(lambda r: verdict(0.5))

    async def caller() -> float | None:
        score: float | None = make()(items("a"))[0].score
        return score

    assert asyncio.run(caller()) == 0.5


def test_nothing_to_ask_makes_no_request(httpserver: HTTPServer, make: Any) -> None:
    assert make()([]) == []
    (result,) = make()([JudgeItem("What?", " ", "a stone", "stone")])
    assert (result.score, result.reason) == (None, "no gold diagnosis")
    assert not httpserver.log


def test_a_cache_that_is_no_database_is_told(httpserver: HTTPServer, make: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to look like a file with content\n" * 20)
    for path in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "below"):
        with pytest.raises(InputError, match="judge.cache"):
            make(cache=path)(items("a"))
    assert not httpserver.log


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "localhost:8000/v1"}, {"concurrency": 0}, {"timeout": 0}, {"max_retries": -1},
        {"prompt": {"system": "", "user": "{query} {gold}"}},
    ],
)  # fmt: skip
def test_wrong_settings_are_told(make: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="judge"):
        make(**settings)


def test_the_shipped_prompt_fits(httpserver: HTTPServer, make: Any) -> None:
    conf = OmegaConf.load(Path(__file__).parents[2] / "conf" / "judge" / "openai.yaml")
    httpserver.expect_request(PATH).respond_with_handler(lambda r: verdict(0.5))
    judge = make(prompt=conf.prompt, request=conf.request)
    assert judge(items("ANSWER"))[0].score == 0.5
    user = httpserver.log[0][0].get_json()["messages"][1]["content"]
    assert user == "<question>What?</question>\n<reference>a stone</reference>\n<answer>ANSWER</answer>"
    assert len(judge.prompt_hash) == 64 and judge.prompt_hash != make().prompt_hash
