"""What a reader of scores should know: split files, how the answers were read, what could not be computed."""

from collections import Counter
from collections.abc import Mapping, Sequence

from umed.evaluation.prediction import Prediction
from umed.evaluation.question import without_stand_in
from umed.evaluation.score import Score
from umed.evaluation.scorer import Scorer, group_by_dataset


def write_notes(predictions: Sequence[Prediction], scores: Sequence[Score], scorers: Mapping[str, Scorer]) -> list[str]:
    """A line for each split file, then what the scorers say of their data sets."""
    notes = []
    types: dict[tuple[str, str], Counter[str]] = {}
    for question in (prediction.question for prediction in predictions):
        types.setdefault((question.dataset, question.split), Counter())[question.answer_type] += 1
    for (dataset, split), counts in sorted(types.items()):
        told = ", ".join(f"{count} {answer_type}" for answer_type, count in counts.items())
        notes.append(f"{dataset}: split file {split}, {told}")
    for dataset, places in sorted(group_by_dataset(predictions).items()):
        of_dataset = [predictions[k] for k in places]
        notes += scorers[without_stand_in(dataset)].note(dataset, of_dataset, scores)
    return notes
