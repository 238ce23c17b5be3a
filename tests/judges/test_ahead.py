"""A judge asked ahead of time gives what it gives otherwise, and holds nothing up."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from judging import answer_in, items, verdict
from pytest_httpserver import HTTPServer
from served import SECRET

from umed.errors import InputError
from umed.judges.ahead import AskAhead
from umed.judges.base import JudgeItem, Verdict
from umed.judges.openai_judge import OpenAIJudge
from umed.judges.overlap import OverlapJudge


class Waiting:
    """Waits for `go` before it answers; each answer scores its length."""

    waits = True

    def __init__(self) -> None:
        self.go, self.calls = threading.Event(), []

    def __call__(self, asked: list[JudgeItem]) -> list[Verdict]:
        self.calls.append(threading.current_thread())
        assert self.go.wait(20)
        if asked[0].answer == "refused":
            raise InputError("judge: refused")
        return [Verdict(len(item.answer) / 10) for item in asked]


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "judge":
            thread.join(20)
            assert not thread.is_alive()


def test_begin_returns_while_the_judge_waits_and_it_is_asked_once() -> None:
    judge = Waiting()
    ahead, asked = AskAhead(judge), items("a", "bb")
    ahead.begin(asked)
    ahead.begin(list(asked))  # again, as where a step is repeated
    assert not judge.go.is_set()
    judge.go.set()
    assert ahead(tuple(asked)) == [Verdict(0.1), Verdict(0.2)]
    assert len(judge.calls) == 1 and judge.calls[0] is not threading.current_thread()
    assert ahead(asked) == [Verdict(0.1), Verdict(0.2)] and len(judge.calls) == 2, "not twice from one beginning"


def test_other_items_are_asked_for_as_before() -> None:
    """After those that were begun: a judge is asked by one thread at a time."""
    judge = Waiting()
    ahead = AskAhead(judge)
    ahead.begin(items("a"))
    threading.Timer(0.05, judge.go.set).start()
    assert ahead(items("bbb")) == [Verdict(0.3)]
    assert judge.calls[-1] is threading.current_thread() and len(judge.calls) == 2


def test_a_failure_comes_out_where_the_verdicts_are_asked_for() -> None:
    judge = Waiting()
    ahead = AskAhead(judge)
    judge.go.set()
    ahead.begin(items("refused"))
    with pytest.raises(InputError, match="judge: refused"):
        ahead(items("refused"))
    assert ahead(items("a")) == [Verdict(0.1)]


def test_a_judge_that_computes_is_not_moved_to_a_thread() -> None:
    ahead, before = AskAhead(OverlapJudge()), threading.active_count()
    asked = items("a stone", "a cyst")
    ahead.begin(asked)
    assert threading.active_count() == before
    assert ahead(asked) == OverlapJudge()(asked)


def test_an_endpoint_is_asked_ahead(httpserver: HTTPServer, make: Callable[..., OpenAIJudge]) -> None:
    asked = []

    def reply(request: Any) -> Any:
        answer = answer_in(request.get_json())
        asked.append(answer)
        return verdict(0.25 if answer == "a" else 0.75)

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(reply)
    ahead, threads = AskAhead(make()), threading.active_count()
    ahead.begin(items("a", "b"))
    assert threading.active_count() == threads + 1
    assert [v.score for v in ahead(items("a", "b"))] == [0.25, 0.75]
    assert sorted(asked) == ["a", "b"]
    httpserver.clear()
    assert [v.score for v in AskAhead(make())(items("b", "a"))] == [0.75, 0.25], "stored as ever"


INTERRUPTED = """
import signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
ahead = AskAhead(judge)
ahead.begin([JudgeItem("q", "g", "a", "c")])
threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
ahead([JudgeItem("q", "g", "a", "c")])
"""


def ends_by_an_interrupt(judge: str) -> None:
    """In a process of its own: what is left of it is what is tested."""
    code = f"from umed.judges.ahead import AskAhead\nfrom umed.judges.base import JudgeItem\n{judge}{INTERRUPTED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout == "asked\n" and done.returncode != 0
    assert done.stderr.strip().endswith("KeyboardInterrupt") and "Exception ignored" not in done.stderr


def test_an_interrupt_ends_the_process_although_the_judge_hangs() -> None:
    ends_by_an_interrupt("""
import time
class Hanging:
    waits = True
    def __call__(self, items):
        print("asked", flush=True)
        time.sleep(60)
judge = Hanging()
""")


@pytest.mark.slow
def test_an_interrupt_ends_the_process_although_the_endpoint_hangs(tmp_path: Path) -> None:
    ends_by_an_interrupt(f"""
import asyncio, os
from umed.judges.openai_judge import OpenAIJudge
os.environ["OPENAI_API_KEY"] = {SECRET!r}
class Hanging(OpenAIJudge):
    async def _ask(self, item):
        print("asked", flush=True)
        await asyncio.sleep(60)
judge = Hanging("m", prompt={{"system": "", "user": "{{query}}{{gold}}{{answer}}"}}, cache={str(tmp_path / "v")!r})
""")
