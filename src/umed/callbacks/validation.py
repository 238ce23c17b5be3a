"""Score the answers of a validation epoch; stock callbacks can monitor the result."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L

from umed.chat import Prompt
from umed.data.mau import MauDataModule
from umed.evaluation.ask import records_to_predictions
from umed.evaluation.benchmarks.mau import NAME, BoxScorer
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import BoxQuestion
from umed.evaluation.results import score_slices
from umed.evaluation.rules.mentions import NO_ALIASES
from umed.evaluation.score import flat_metrics
from umed.evaluation.scorer import Options
from umed.processes import Processes


class Validation(L.Callback):
    """Logs `val/mau/<rule>/<source or avg>`, e.g. `val/mau/iou/avg`, of what `validation_step` answers.

    Pictures known to be normal have rules of their own, `false_positives` and `false_boxes`, and count for no other.

    Args:
        synonyms: category -> other names that count as naming it.
    """

    def __init__(self, synonyms: Mapping[str, Sequence[str]] = NO_ALIASES) -> None:
        self.options = Options(synonyms=synonyms)
        self.predictions: list[Prediction] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, module: Any) -> None:
        self.predictions = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, module: Any, outputs: Any, batch: list[Prompt], *_: Any
    ) -> None:
        self.predictions += records_to_predictions(module.policy.processor, batch, outputs["answers"])

    def on_validation_epoch_end(self, trainer: L.Trainer, module: Any) -> None:
        if isinstance(trainer.datamodule, MauDataModule):  # type: ignore[attr-defined]
            self.predictions = gather_predictions(trainer.datamodule.val_processes, self.predictions)  # type: ignore[attr-defined]
        scorer = BoxScorer()
        abnormal: list[Prediction] = []
        controls: list[Prediction] = []
        for prediction in self.predictions:
            question = prediction.question
            is_abnormal = isinstance(question, BoxQuestion) and question.gold_boxes
            (abnormal if is_abnormal else controls).append(prediction)
        verdicts = scorer.judge(abnormal, self.options)
        scores = scorer.summarize(abnormal, verdicts) + score_slices(scorer, NAME, abnormal, verdicts)
        scores += scorer.score_controls(controls, self.options)
        metrics = {f"val/{name}": value for name, value in flat_metrics(scores).items()}
        module.log_dict(metrics, batch_size=len(self.predictions))


def gather_predictions(processes: Processes, predictions: list[Prediction]) -> list[Prediction]:
    """Those of all processes in the order of their records."""
    if processes.count == 1:
        return predictions
    lines = processes.gather([prediction.to_line() for prediction in predictions])
    return [Prediction.from_line(line, BoxQuestion) for line in lines]
