"""One bar a stage, with the time left over all its batches, also after a resume."""

import sys
from typing import Any

import lightning as L
from tqdm import tqdm

SHOWN = {
    "sft/loss": "loss",
    "reward/total": "reward",
    "reward/localization": "r_loc",
    "rollout/unparsed": "unparsed",
    "val/mau/iou/avg": "val IoU",
}


class StageProgress(L.Callback):
    """Names the stage, counts its batches and shows its key numbers; validation is a second, short bar."""

    def __init__(self) -> None:
        self.bar = self.validation = tqdm(disable=True)  # until training and validation begin

    def _new_bar(self, **options: Any) -> tqdm:
        interval = 0.2 if sys.stderr.isatty() else 30.0  # live on a terminal, a line every half minute in a log file
        return tqdm(mininterval=interval, unit="batch", dynamic_ncols=True, **options)

    def on_train_start(self, trainer: L.Trainer, module: Any) -> None:
        counts = {"total": module.total_batches, "initial": module.iteration}
        self.bar = self._new_bar(desc=module.stage, disable=not trainer.is_global_zero, **counts)

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *args: Any) -> None:
        logged = trainer.callback_metrics
        numbers = {shown: f"{float(logged[name]):.3f}" for name, shown in SHOWN.items() if name in logged}
        self.bar.set_postfix(numbers, refresh=False)
        self.bar.update()

    def on_validation_start(self, trainer: L.Trainer, module: Any) -> None:
        hidden = not trainer.is_global_zero or not sys.stderr.isatty()
        name, total = f"{module.stage}: validating", sum(trainer.num_val_batches)
        self.validation = self._new_bar(desc=name, total=total, disable=hidden, leave=False)

    def on_validation_batch_end(self, trainer: L.Trainer, module: Any, *args: Any) -> None:
        self.validation.update()

    def on_validation_end(self, trainer: L.Trainer, module: Any) -> None:
        self.validation.close()

    def teardown(self, trainer: L.Trainer, module: Any, stage: str) -> None:
        self.bar.close()

    def on_exception(self, trainer: L.Trainer, module: Any, exception: BaseException) -> None:
        self.bar.close()
