"""End a member of a sweep that stays below the median of those that are finished."""

import csv
from pathlib import Path
from statistics import median
from typing import Any, Literal

import lightning as L

from umed.errors import check_choice, check_positive


class MedianStop(L.Callback):
    """Compares a metric after each interval with that of the finished members after the same interval.

    What it has learned is kept and evaluated, as at the end of a stage. The members' numbers are read from their
    `logs/<stage>/metrics.csv`; one is finished when the adapter of the stage is written.

    Args:
        monitor: a name of `logs/<stage>/metrics.csv`.
        mode: whether more is better, `max`, or less, `min`.
        folder: that holds the run folders of the members.
        patience: intervals in a row that must be worse.
        least: finished members that are needed.
    """

    def __init__(
        self, monitor: str, folder: str | Path, mode: Literal["max", "min"] = "max", patience: int = 2, least: int = 4
    ) -> None:
        check_choice("callbacks.median_stop.mode", mode, "max", "min")
        check_positive("callbacks.median_stop.patience", patience)
        check_positive("callbacks.median_stop.least", least)
        self.monitor, self.folder, self.patience, self.least = monitor, Path(folder), patience, least
        self.sign = 1 if mode == "max" else -1
        self.worse = 0

    def state_dict(self) -> dict[str, Any]:
        return {"worse": self.worse}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.worse = state_dict["worse"]

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        interval = trainer.current_epoch
        values = [of[interval] for of in self.read_finished(module.stage) if len(of) > interval]
        here = self.sign * float(trainer.callback_metrics[self.monitor])
        is_worse = len(values) >= self.least and here < median(self.sign * value for value in values)
        self.worse = self.worse + 1 if is_worse else 0
        stop = trainer.strategy.reduce_boolean_decision(self.worse >= self.patience, all=False)
        if stop and not trainer.should_stop:
            trainer.should_stop = True
            if trainer.is_global_zero:
                print(
                    f"{module.stage}: {self.monitor} was below the median of {len(values)} finished members "
                    f"{self.patience} times in a row: this one ends here"
                )

    def read_finished(self, stage: str) -> list[list[float]]:
        """The metric of each finished member after each of its intervals."""
        members = (path.parents[2] for path in self.folder.glob(f"*/logs/{stage}/metrics.csv"))
        return [self._read(run / "logs" / stage / "metrics.csv") for run in sorted(members) if _is_finished(run, stage)]

    def _read(self, path: Path) -> list[float]:
        with path.open(newline="", encoding="utf-8") as file:
            return [float(row[self.monitor]) for row in csv.DictReader(file) if row.get(self.monitor)]


def _is_finished(run: Path, stage: str) -> bool:
    return any((run / "adapter" / name / "umed.json").is_file() for name in ("", stage))
