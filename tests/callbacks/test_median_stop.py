"""A member of a sweep that stays below the median of the finished ones ends early."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from umed.callbacks.median_stop import MedianStop
from umed.errors import InputError

METRIC = "val/mau/iou/avg"


def member(sweep: Path, name: str, *values: float, finished: bool = True) -> None:
    logs = sweep / name / "logs" / "aar"
    logs.mkdir(parents=True)
    rows = "".join(f"0.1,\n,{value}\n" for value in values)
    (logs / "metrics.csv").write_text(f"reward/total,{METRIC}\n{rows}")
    if finished:
        (sweep / name / "adapter").mkdir()
        (sweep / name / "adapter" / "umed.json").touch()


def after(callback: MedianStop, epoch: int, value: float) -> bool:
    """Whether the stage ends after the interval `epoch` with this value."""
    trainer: Any = SimpleNamespace(
        sanity_checking=False, callback_metrics={METRIC: value}, current_epoch=epoch, should_stop=False,
        is_global_zero=True, strategy=SimpleNamespace(reduce_boolean_decision=lambda stop, all: stop),
    )  # fmt: skip
    callback.on_validation_end(trainer, SimpleNamespace(stage="aar"))
    return trainer.should_stop


def test_it_stops_below_the_median_as_often_as_its_patience(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, last in (("a", 0.2), ("b", 0.4), ("c", 0.6)):
        member(tmp_path, name, 0.1, last)
    member(tmp_path, "running", 0.9, 0.9, finished=False)
    callback = MedianStop(METRIC, tmp_path, patience=2, least=3)
    assert not after(callback, 0, 0.05) and after(callback, 1, 0.39)
    assert "aar: val/mau/iou/avg was below the median of 3 finished members 2 times" in capsys.readouterr().out
    callback = MedianStop(METRIC, tmp_path, patience=2, least=3)
    assert not after(callback, 0, 0.05) and not after(callback, 1, 0.41) and not after(callback, 2, 0.0)
    assert not after(MedianStop(METRIC, tmp_path, patience=1, least=4), 1, 0.0)
    assert after(MedianStop(METRIC, tmp_path, mode="min", patience=1, least=3), 1, 0.41)
    again = MedianStop(METRIC, tmp_path, patience=2, least=3)
    again.load_state_dict({"worse": 1})
    assert after(again, 0, 0.05)


def test_wrong_settings_are_told() -> None:
    with pytest.raises(InputError, match="callbacks.median_stop.mode=up"):
        MedianStop(METRIC, ".", mode="up")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="callbacks.median_stop.patience=0"):
        MedianStop(METRIC, ".", patience=0)
