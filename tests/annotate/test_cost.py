"""Estimates, counts and the cap on the money."""

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest
from loopback import answer, good, note
from werkzeug import Request, Response

from umed.annotate.base import Stopped
from umed.annotate.cost import Budget, Price, Spent, count_image_tokens
from umed.errors import InputError
from umed.llm.journal import Journal


def test_the_cap_is_kept_across_runs_and_what_is_done_is_kept(annotate, serve, make_records, settings):
    """100 tokens in and 50 out cost 600 USD a million times: $0.0006 a request."""
    came, records = serve(), make_records(20)
    price = {"input": 1.0, "output": 10.0}
    tight = {"price": price, "output_tokens": {"expected": 50, "at_most": 60}, "concurrency": 4}
    for cap in (0.008, 0.016):
        with pytest.raises(Stopped, match=f"max_cost={cap:g}.*to go.*not paid again") as stop:
            annotate(records, **tight, max_cost=cap)
        assert "\n" not in str(stop.value)
        with Journal(Path(settings["journal"]), "annotator.journal") as journal:
            spent = sum(cost or 0 for _, _, cost, _ in journal.tokens())
        assert cap - 0.003 < spent <= cap and spent == pytest.approx(len(came) * 6e-4)
    assert sum(bool(r.diagnosis) for r in stop.value.records) >= 9
    done = annotate(records, **tight, max_cost=1.0)
    assert all(r.diagnosis for r in done) and len(came) == 40


def test_tokens_that_are_not_counted_are_estimated(annotate, httpserver):
    def handler(request: Request) -> Response:
        body = request.get_json()
        return Response(json.dumps(answer(body, good(body), None)), content_type="application/json")

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(handler)
    (record,) = annotate(1)
    assert note(record)["tokens"]["output"] == 2 * 250 and note(record)["tokens"]["input"] > 2 * 255
    assert "cost_usd" not in note(record)


def test_a_dry_run_needs_nothing_and_sends_nothing(annotate, make, serve, make_records, monkeypatch, tmp_path):
    came, records = serve(), make_records(10)
    monkeypatch.delenv("OPENAI_API_KEY")
    told = make(dry_run=True, base_url=None, price={"input": 2.0, "output": 8.0}).estimate(records)
    assert "10 records" in told and "20 requests" in told and "estimated tokens out: 5,000 (at most 20,000)" in told
    tokens = int(told.split("tokens in: ")[1].split()[0].replace(",", ""))
    assert 10 * 2 * 255 < tokens < 10 * 2 * 1000
    assert f"about ${(tokens * 2 + 5000 * 8) / 1e6:.2f}" in told
    assert "unknown" in make(dry_run=True, base_url=None).estimate(records)
    with pytest.raises(InputError, match="dry_run"):
        annotate(records, dry_run=True)
    assert not came and not (tmp_path / "run").exists()


def test_what_is_under_way_counts_until_it_is_paid():
    """Two requests of $0.6 under a cap of $1: the second waits, and goes only if the first was cheaper than thought."""

    async def go(paid: float) -> list[str]:
        budget, told = Budget(Price(1.0, 1.0), 1.0), list[str]()
        budget.learn(1, 1, 1, 1)

        async def request(name: str) -> None:
            try:
                async with budget.hold(lambda: 0.6):
                    told.append(f"{name} begins")
                    await asyncio.sleep(0.01)
                    budget.spent += paid
                    told.append(f"{name} ends")
            except Spent:
                told.append(f"{name} is too much")

        await asyncio.gather(request("a"), request("b"))
        return told

    assert asyncio.run(go(0.3)) == ["a begins", "a ends", "b begins", "b ends"]
    assert asyncio.run(go(0.5)) == ["a begins", "a ends", "b is too much"]


@pytest.mark.parametrize(
    ("size", "tiles"), [((512, 512), 1), ((320, 240), 1), ((1024, 1024), 4), ((2048, 4096), 6), ((3000, 300), 4)]
)
def test_picture_tokens_follow_the_published_formula(size, tiles):
    """1024 x 1024 is scaled to 768 x 768, 2048 x 4096 to 768 x 1536; nothing is enlarged."""
    assert count_image_tokens(*size, {"base": 85, "tile": 170}) == 85 + 170 * tiles


@pytest.mark.parametrize("batch", [False, True])
def test_the_cap_holds_where_estimates_are_too_low(annotate, httpserver, settings, request, batch):
    """9000 tokens a request, not the 700 or so that were thought: $0.009 each."""
    together, most, lock = 0, [0], threading.Lock()

    def handler(request: Request) -> Response:
        nonlocal together
        with lock:
            together += 1
            most.append(together)
        time.sleep(0.02)
        with lock:
            together -= 1
        body = request.get_json()
        return Response(json.dumps(answer(body, good(body), (9000, 50))), content_type="application/json")

    httpserver.clear()
    if batch:
        request.getfixturevalue("shop").tokens = (9000, 50)
    else:
        httpserver.expect_request("/v1/chat/completions").respond_with_handler(handler)
    options = {"price": {"input": 1.0, "output": 0.0}, "concurrency": 6, "batch": batch}
    for cap in (0.1, 0.15):
        with pytest.raises(Stopped, match=f"max_cost={cap:g}"):
            annotate(40, **options, max_cost=cap)
        with Journal(Path(settings["journal"]), "annotator.journal") as journal:
            spent = sum(cost or 0 for _, _, cost, _ in journal.tokens())
        assert cap - 0.04 < spent <= cap, "from the second run on, the journal tells how good the estimates are"
    assert batch or max(most) > 1


def test_one_request_goes_first_under_a_cap():
    async def go(cap: float | None) -> int:
        budget, most = Budget(Price(1.0, 1.0), cap), 0
        under_way = 0

        async def request(number: int) -> None:
            nonlocal under_way, most
            async with budget.hold(lambda: budget.bound(10, 10)):
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0.01)
                under_way -= 1

        await asyncio.gather(*map(request, range(3)))
        assert budget.is_sure == (cap is None)
        budget.learn(30, 5, 10, 10)
        assert budget.bound(10, 10) == pytest.approx((30 + 10) / 1e6)
        budget.learn(10, 20, 10, 10)
        assert budget.bound(10, 10) == pytest.approx((30 + 20) / 1e6) and budget.is_sure
        return most

    assert asyncio.run(go(1.0)) == 1 and asyncio.run(go(None)) == 3
