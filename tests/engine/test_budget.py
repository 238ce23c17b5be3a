"""Cuts hold no more than the budget and lose nobody; memory that is not enough halves it, once, for good."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from umed.engine.budget import CACHED, Budget, Part
from umed.errors import InputError

OOM = torch.OutOfMemoryError("CUDA out of memory")


def tokens_of(part: Part, prompts: list[int], answers: list[int], g: int, once: bool) -> int:
    """What a pass over the part holds, counted row by row."""
    widest = max(prompts[q] for q in part.queries)
    rows = part.rows(g).tolist()
    longest = max(answers[q * g + c] for q in part.queries for c in range(g))
    return (len(part.queries) if once else len(rows)) * widest + len(rows) * longest


@given(st.data(), st.booleans(), st.booleans())
def test_parts_are_within_the_budget_and_cover_every_answer_once(
    data: st.DataObject, cached: bool, shared: bool
) -> None:
    g = data.draw(st.integers(1, 5))
    prompts = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=9))
    answers = data.draw(st.lists(st.integers(1, 20), min_size=len(prompts) * g, max_size=len(prompts) * g))
    budget = Budget(data.draw(st.integers(80, 400)))
    parts = budget.cut(prompts, answers, cached=cached, shared=shared)
    rows = torch.cat([part.rows(g) for part in parts])
    assert sorted(rows.tolist()) == list(range(len(answers)))
    limit = (budget.tokens or 0) * (CACHED if cached else 1)
    for part in parts:
        assert tokens_of(part, prompts, answers, g, shared and not cached) <= limit
        assert part.width == max(answers[r] for r in part.rows(g).tolist())
    if len(parts) == 1:
        assert parts[0].queries == list(range(len(prompts)))  # as they stand


def test_similar_lengths_stand_together() -> None:
    parts = Budget(100).cut([10, 50, 11, 49], [5] * 4, cached=False)
    assert [part.queries for part in parts] == [[0, 2], [3], [1]]


def test_no_limit_is_one_part() -> None:
    assert Budget().cut([5, 9], [3, 4, 5, 6], cached=False) == [Part([0, 1], range(2), 6)]


@pytest.mark.parametrize(("cached", "least"), [(False, 60), (True, 4)])
def test_a_budget_below_one_prompt_is_told_in_one_line(cached: bool, least: int) -> None:
    with pytest.raises(InputError, match=rf"engine.tokens=3: .* takes 60 tokens, so at least {least} are needed"):
        Budget(3).cut([10, 50], [10, 10], cached=cached)


def test_a_record_that_does_not_fit_is_named_before_it_is_read() -> None:
    Budget(60).check(60, "phantom/3")
    Budget().check(60, "phantom/3")
    with pytest.raises(InputError, match=r"phantom/3: engine.tokens=59: .* at least 60 are needed"):
        Budget(59).check(60, "phantom/3")


def test_memory_halves_the_budget_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file, seen = tmp_path / "engine.json", []
    budget = Budget(1000, file, "sft")
    budget.begin(7)

    def step() -> str:
        budget.cut([40] * 4, [10] * 4, cached=False)  # 200 tokens: halving 1000 would not help
        seen.append(budget.tokens)
        if len(seen) == 1:
            raise OOM
        return "done"

    assert budget.run(step) == "done"
    assert seen == [1000, 100]
    assert "sft/iteration 7: out of memory: engine.tokens 200 -> 100, the step is repeated" in capsys.readouterr().out
    # a run that goes on from before has the old budget up to there, and the new one from there on
    for again in (Budget(1000, file, "sft"), Budget(None, file, "sft")):
        found = []
        for iteration in (6, 7, 8):
            again.begin(iteration)
            found.append(again.run(lambda again=again: again.tokens))
        assert found == [1000, 100, 100]
    # another number begins anew, for this stage alone
    other = Budget(300, file, "aar")
    assert (other.tokens, other.halvings) == (300, [])
    other.save()
    assert Budget(500, file, "sft").halvings == [] and Budget(None, file, "sft").halvings == budget.halvings


@pytest.mark.parametrize("cached", [True, False])
def test_asking_what_fits_leaves_no_trace(cached: bool) -> None:
    """A question is no pass: what is halved when memory is short is the part that was tried."""
    budget = Budget(4 if cached else 64)
    before = dict(vars(budget))
    assert budget.fits([10] * 4, [6] * 4, cached=cached) and not budget.fits([10] * 5, [6] * 5, cached=cached)
    assert vars(budget) == before
    assert Budget().fits([10] * 5, [6] * 5, cached=cached)


def test_a_second_time_is_one_line() -> None:
    budget = Budget(64, stage="aar")
    budget.begin(2)

    def step() -> None:
        budget.cut([10] * 5, [3] * 5, cached=False)
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(
        InputError, match=r"aar/iteration 2: out of memory, also with engine.tokens=26: set engine.tokens"
    ):
        budget.run(step)


def test_it_is_not_halved_below_one_prompt_with_its_answer() -> None:
    budget, seen = Budget(100), []

    def step() -> None:
        budget.cut([30], [5] * 4, cached=False)
        seen.append(budget.tokens)
        raise OOM

    with pytest.raises(InputError, match="out of memory, also with engine.tokens=35"):
        budget.run(step)
    with pytest.raises(InputError, match="out of memory, also with engine.tokens=35"):
        budget.run(step)  # nothing to halve: not tried twice
    assert seen == [100, 35, 35]


def test_another_error_is_none_of_its_business() -> None:
    budget = Budget(64)

    def step() -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        budget.run(step)
    assert budget.tokens == 64


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"sft": []}',
        '{"sft": {"tokens": "x", "halvings": []}}',
        '{"sft": {"tokens": 5, "halvings": [{}]}}',
        '{"aar": {"tokens": 5, "halvings": [{"iteration": 1, "attempt": "1", "tokens": 3}]}}',
    ],
)
def test_a_file_that_is_none_is_told_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "engine.json"
    file.write_text(text)
    with pytest.raises(InputError, match="engine.json"):
        Budget(5, file, "sft")


def test_memory_short_in_sampling_leaves_passes_with_gradients_as_they_are() -> None:
    budget, seen = Budget(16384), []

    def sample() -> None:
        seen.append(len(budget.cut([660] * 4, [256] * 16, cached=True)))
        if len(seen) == 1:
            raise OOM

    budget.run(sample)
    assert seen[1] > seen[0] == 1
    assert budget.tokens == 16384 and len(budget.cut([660] * 4, [256] * 16, cached=False)) == 1
