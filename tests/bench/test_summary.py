"""Rows, ratios and laws from fixed timings, against numbers worked out by hand."""

import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from umed.bench.figure import draw_bars
from umed.bench.shapes import SHAPES, Shape, Variant, activations, flops
from umed.bench.summary import make_ratios, make_row, make_scaling, tabulate, tabulate_scaling

SHAPE = Shape(image_tokens=64, queries=2, candidates=4, answer_tokens=32)


def measured(seconds: list[float], peak: float) -> dict[str, Any]:
    split = {"sample": [s / 2 for s in seconds], "score": [0.0] * len(seconds), "update": [s / 2 for s in seconds]}
    return {
        "step_s": seconds,
        "cpu_s": [0.9 * s for s in seconds],
        "split_s": split,
        "start_mb": 400.0,
        "peak_mb": peak,
    }


OURS = [measured([1.0, 2.0], 500.0), measured([2.0, 9.0], 700.0)]
THEIRS = [measured([6.0, 8.0], 1000.0), measured([8.0, 8.5], 1400.0)]
ROWS = [make_row("mid_cpu", SHAPE, name, turns) for name, turns in (("ours", OURS), ("trl", THEIRS))]


def test_a_row_has_medians_over_all_turns() -> None:
    row = ROWS[0]
    assert row["step_s"] == 2.0 and row["range_s"] == [1.0, 9.0] and row["cpu_s"] == 1.8
    assert row["split_s"] == {"sample": 1.0, "score": 0.0, "update": 1.0}
    assert row["answers_per_s"] == 4.0 and row["tokens_per_s"] == 128.0
    assert row["peak_mb"] == 600.0 and (row["turns"], row["steps"]) == (2, 4)


def test_an_evaluation_counts_its_sampled_answers() -> None:
    assert make_row("mid_cpu", SHAPE, "generate", OURS)["answers_per_s"] == 20.0


def test_ratios_say_how_many_times_faster_we_are_and_our_share_of_memory() -> None:
    assert make_ratios(ROWS) == {"mid_cpu/trl": 4.0, "mid_cpu/trl/memory": 0.5}


def test_each_kind_of_work_has_its_own_first_row() -> None:
    rows = [make_row("mid_cpu", SHAPE, name, turns) for name, turns in (("ours_sft", THEIRS), ("trl_sft", OURS))]
    assert make_ratios([*ROWS, *rows])["mid_cpu/trl_sft"] == 0.25


def test_rows_and_ratios_are_json() -> None:
    kept = json.loads(json.dumps({"rows": ROWS, "ratios": make_ratios(ROWS)}))
    assert kept == {"rows": ROWS, "ratios": make_ratios(ROWS)}


def test_the_table_shows_the_ratios() -> None:
    console = Console(width=180, record=True)
    console.print(tabulate(ROWS, make_ratios(ROWS)))
    text = console.export_text()
    assert "4.00x" in text and "0.50x" in text and "1.000-9.000" in text


def test_the_figure_has_a_panel_for_each_kind_of_work() -> None:
    rows = [*ROWS, make_row("mid_cpu", SHAPE, "ours_sft", OURS)]
    figure = draw_bars(rows, make_ratios(rows))
    assert [axis.get_title() for axis in figure.axes] == [
        f"mid_cpu: {work}, seconds a step" for work in ("rewarding", "tuning")
    ]
    assert any("8.00 s, 4.00 of ours" in text.get_text() for text in figure.axes[0].texts)


def test_growth_is_relative_to_the_first_of_an_axis() -> None:
    variants = [Variant("candidates", g, replace(SHAPE, candidates=g)) for g in (4, 16)]
    rows = make_scaling([(variants[0], OURS), (variants[1], THEIRS)])
    assert [row["time_ratio"] for row in rows] == [1.0, 4.0]
    assert [row["memory_ratio"] for row in rows] == [1.0, 4.0]  # (1200 - 400) / (600 - 400)
    assert rows[1]["time_law"] == flops(variants[1].shape) / flops(SHAPE)
    console = Console(width=140, record=True)
    console.print(tabulate_scaling(rows))
    assert f"{rows[1]['time_law']:.2f}" in console.export_text()


def test_the_laws_by_hand() -> None:
    shape = Shape(
        image_tokens=4, queries=1, candidates=2, answer_tokens=3, hidden=2, layers=1, heads=2, kv_heads=1,
        intermediate=5, vocabulary=7, tower_hidden=2, tower_layers=1, tower_intermediate=3,
    )  # fmt: skip
    body = 2 * 2 * 2 + 2 * 2 * 1 + 3 * 2 * 5  # queries and outputs, keys and values, the three of the MLP
    tower = 2 * (4 * 2 + 3 * 3)
    prompt, answers = 4 + 16, 6
    attention = 4 * 2 * (answers * (prompt + 1.5) + prompt * prompt / 2)
    once = 2 * (body * (prompt + answers) + 2 * 7 * answers) + attention
    assert flops(shape) == pytest.approx(4 * once + 2 * 4 * tower * 4)
    assert activations(shape) == 4 * (4 * (body + 14) + 26 * (16 + 20) + 6 * 7)


def test_more_answers_share_the_prompt() -> None:
    """Four times the answers cost far less than four times as much, with many image tokens."""
    few = replace(SHAPES["long_cpu"], candidates=4, answer_tokens=16)
    assert flops(replace(few, candidates=16)) < 3 * flops(few)


@pytest.mark.parametrize(("tokens", "grid"), [(64, (8, 8)), (1000, (25, 40)), (144, (12, 12)), (7, (1, 7))])
def test_the_grid_is_near_to_a_square(tokens: int, grid: tuple[int, int]) -> None:
    assert replace(SHAPE, image_tokens=tokens).grid == grid
