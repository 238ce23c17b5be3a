"""Measures the answers of a validation epoch; stock callbacks can monitor the result."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L

from umed.chat import Prompt
from umed.evaluation.lines import answer_lines
from umed.evaluation.rules.mau import mau_metrics
from umed.evaluation.rules.mentions import NO_ALIASES


class Validation(L.Callback):
    """Logs `val/mau/<rule>/<source or avg>`, e.g. `val/mau/iou/avg`, of what `validation_step` answers.

    Args:
        synonyms: category -> other names that count as naming it.
    """

    def __init__(self, synonyms: Mapping[str, Sequence[str]] = NO_ALIASES) -> None:
        self.synonyms = synonyms
        self.lines: list[dict[str, Any]] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        self.lines = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: list[Prompt], *_: Any
    ) -> None:
        self.lines += answer_lines(module.policy.processor, batch, outputs["answers"])

    def on_validation_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        metrics = mau_metrics(self.lines, synonyms=self.synonyms)
        module.log_dict({f"val/{name}": value for name, value in metrics.items()}, batch_size=len(self.lines))
