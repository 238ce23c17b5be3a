"""The control has the compute of rewarding, decided before it trains."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from composed import composed

from tests.conftest import make_record
from umed.records import RecordSet
from umed.sft_continued import FILE, continue_tuning


@pytest.mark.parametrize(
    ("overrides", "passes"),
    [
        # 3 batches of 2 queries: sampled 100 + 4 x 10, scored with gradients 3 x 140
        (["method.num_epochs=1", "method.num_minibatches=1"], 6 * (140 + 3 * 140)),
        # sampled, scored, and two epochs of 3 x 140
        (["method.num_epochs=2", "method.num_minibatches=2"], 6 * (140 + 140 + 2 * 3 * 140)),
    ],
)
def test_the_steps_are_those_of_equal_compute(tmp_path: Path, overrides: list[str], passes: int) -> None:
    settings = ["method.batch_size=2", "method.num_candidates=4", "method.steps=3", "task.sft.batch_size=5"]
    cfg = composed("task=pipeline", *settings, *overrides, f"paths.run_dir={tmp_path}")
    records = [replace(make_record(k, 20, 20), split="test" if k == 0 else "train") for k in range(3)]
    sizes = {record.id: (10_000, 10_000) if record.split == "test" else (100, 10) for record in records}
    tuning = continue_tuning(cfg, RecordSet(records, {}), sizes)
    steps = -(-passes // (5 * 3 * 110))
    assert (tuning.steps, tuning.epochs, tuning.lr) == (steps, None, cfg.task.sft.lr)
    assert json.loads((tmp_path / FILE).read_text()) == {"steps": steps, "token_passes": passes}
