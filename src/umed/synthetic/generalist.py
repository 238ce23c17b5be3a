"""Texts that pretrain the embedded base model, `experiment=pretrain_tiny`: a small generalist that does not localize.

It answers short questions about a picture in every form of the benchmarks, says roughly where something is, and says of
a normal picture that it is normal. Of diagnoses it learns the wording alone: those of abnormal pictures tell the region
and category of ANOTHER picture.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from umed.annotate.base import make_random
from umed.annotate.offline import OfflineAnnotator, describe_size
from umed.data.controls import DIAGNOSIS
from umed.evaluation.benchmarks.medmnist import QUESTION
from umed.evaluation.protocol import Protocol
from umed.evaluation.question import Question
from umed.evaluation.rules.choice import LETTERS
from umed.evaluation.rules.labels import LABELS
from umed.records import Record, add_text
from umed.synthetic.benchmarks import ASK_FIGURE, ASK_FINDING, ASK_MODALITY, ASK_WHETHER
from umed.synthetic.label_pictures import SOURCE

PLACE = ("In which part of the picture is something abnormal?", "Where should one look?")
ROWS = ("top", "upper", "middle", "lower", "bottom")  # fifths of the picture
COLUMNS = ("far left", "left", "center", "right", "far right")
Text = tuple[str, str]  # query and answer


class GeneralistAnnotator:
    """Texts about scenes, records without boxes (normal pictures) and label pictures.

    Args:
        kinds: kind of text -> its weight: `modality`, `finding`, `whether`, `choice`, `blank`, `place`, `diagnosis`.
            A normal picture is asked for `whether` and `diagnosis` alone, a label picture for its label.
        protocol: how the benchmarks' questions are put.
    """

    name = "generalist"

    def __init__(self, kinds: Mapping[str, float], protocol: Protocol, seed: int = 0) -> None:
        self.kinds, self.protocol, self.seed = dict(kinds), protocol, seed
        self.diagnoses = OfflineAnnotator(seed)
        self.texts: dict[str, Callable[[Record, Random], Text]] = {
            "modality": lambda r, pick: self._ask(ASK_MODALITY, "open", r.modality),
            "finding": lambda r, pick: self._ask(ASK_FINDING, "open", r.category),
            "blank": lambda r, pick: self._ask(ASK_FIGURE, "blank", r.category),
            "whether": self._ask_whether,
            "choice": self._ask_choice,
            "place": _describe_place,
        }

    def annotate(self, records: Iterable[Record], roots: Mapping[str, Path] | None = None) -> list[Record]:
        records = list(records)
        self.scenes = [r for r in records if r.boxes and not r.source.startswith(SOURCE)]
        self.names = sorted({r.category for r in self.scenes})
        self.shown: dict[str, set[str]] = defaultdict(set)  # picture -> everything abnormal on it
        for r in self.scenes:
            self.shown[_picture(r)].add(r.category)
        return [self._one(r) for r in records]

    def _one(self, record: Record) -> Record:
        pick = make_random(record, self.seed + 1)
        if record.source.startswith(SOURCE):
            names = LABELS[record.source]
            return self._add(record, self._ask(QUESTION, "label", record.category, names))
        if not record.boxes:
            if pick.random() < 0.3:
                return self._add(record, self._ask_whether(record, pick))
            query = self.diagnoses.describe(replace(pick.choice(self.scenes), modality=record.modality)).query
            return self._add(record, (query, DIAGNOSIS))
        [kind] = pick.choices(list(self.kinds), list(self.kinds.values()))
        if kind != "diagnosis":
            return self._add(record, self.texts[kind](record, pick))
        other = self.diagnoses.describe(pick.choice(self.scenes))
        query = self.diagnoses.describe(record).query
        # boxes and category follow the text, which is the other record's
        shuffled = replace(record, boxes=other.boxes, category=other.category)
        return add_text(shuffled, query, other.diagnosis, annotator=self.name, said_of=other.id)

    def _add(self, record: Record, text: Text) -> Record:
        return add_text(record, *text, annotator=self.name)

    def _ask(self, question: str, kind: str, answer: str, choices: Sequence[str] | None = None) -> Text:
        asked = Question(
            id="asked",
            dataset=self.name,
            split_file="",
            question=question,
            answer=answer,
            answer_type=kind,
            image="",
            choices=None if choices is None else tuple(choices),
        )
        return self.protocol.query(asked), answer

    def _ask_whether(self, record: Record, pick: Random) -> Text:
        absent = [name for name in self.names if name not in self.shown[_picture(record)]]
        is_shown = bool(record.boxes) and pick.random() < 0.5
        asked = record.category if is_shown else pick.choice(absent)
        return self._ask(ASK_WHETHER.format(asked), "closed", "Yes" if is_shown else "No")

    def _ask_choice(self, record: Record, pick: Random) -> Text:
        absent = [name for name in self.names if name not in self.shown[_picture(record)]]
        choices = [record.category, *pick.sample(absent, len(LETTERS) - 1)]
        pick.shuffle(choices)
        query, _ = self._ask(ASK_FIGURE, "choice", record.category, choices)
        return query, LETTERS[choices.index(record.category)]


def _picture(record: Record) -> str:
    return f"{record.source}/{record.image}"


def _describe_place(record: Record, pick: Random) -> Text:
    """The fifths of the picture that hold the largest box."""
    largest = max(record.boxes, key=lambda b: b.area)
    rows, columns = _fifths(largest.y0, largest.y1, ROWS), _fifths(largest.x0, largest.x1, COLUMNS)
    return pick.choice(PLACE), f"{rows}, {columns}, {describe_size(record.boxes)}."


def _fifths(low: float, high: float, names: Sequence[str]) -> str:
    """The fifths that an interval within [0, 1] begins and ends in."""
    return f"{names[min(int(low * 5), 4)]} to {names[min(int(high * 5), 4)]}"
