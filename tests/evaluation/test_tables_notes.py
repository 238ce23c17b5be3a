"""What a reader of scores is told besides."""

from answers import SCORERS, diagnose, predict

from umed.evaluation.prediction import Prediction
from umed.evaluation.results import score_predictions
from umed.evaluation.scorer import judge_all
from umed.evaluation.tables import write_notes

CHOICES = [" A:cyst", " B:mass", " C:stone", " D:polyp"]


def notes(*predictions: Prediction) -> list[str]:
    scores = score_predictions(predictions, judge_all(predictions, SCORERS), SCORERS, draws=0)
    return write_notes(predictions, scores, SCORERS)


def test_split_files_come_first_then_what_the_scorers_say() -> None:
    scores = {"malignant": 0.5, "normal, benign": 0.5}
    told = notes(
        predict(0, "slake", "open", "CT", "ct", closed_by="yes_no"),
        predict(1, "slake", "closed", "no", "no", closed_by="yes_no"),
        predict(2, "slake", "open", "MR", "ct", split_file="other.json"),
        predict(3, "pmc_vqa", "choice", "B", "hm", choices=CHOICES),
        predict(4, "pmc_vqa", "choice", "B", "B", choices=CHOICES),
        predict(5, "medmnist_breast", "label", "malignant", "", scores=scores),
        predict(6, "phantom_medmnist_breast", "label", "malignant", "malignant"),
        diagnose(7, "kvasir", ""),
    )
    assert told == [
        "mau: split file records.jsonl, 1 diagnosis",
        "medmnist_breast: split file test.json, 1 label",
        "phantom_medmnist_breast: split file test.json, 1 label",
        "pmc_vqa: split file test.json, 2 choice",
        "slake: split file other.json, 1 open",
        "slake: split file test.json, closed by yes_no, 1 open, 1 closed",
        "medmnist_breast: no auc: a class is missing among the gold labels",
        "phantom_medmnist_breast: no auc: there are no scores",
        "pmc_vqa: no letter could be read from 50.0% of the answers; they count as wrong",
        "slake: open_nearest chooses from the 2 gold answers here, or from an item's own choices",
    ]


def test_where_all_is_well_only_the_split_file_is_told() -> None:
    assert notes(predict(4, "pmc_vqa", "choice", "B", "B", choices=CHOICES)) == [
        "pmc_vqa: split file test.json, 1 choice"
    ]
