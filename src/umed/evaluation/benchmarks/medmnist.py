"""MedMNIST: DermaMNIST, BreastMNIST and PneumoniaMNIST from their .npz files, without the package (torchvision)."""

import hashlib
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from umed.errors import InputError, check_choice
from umed.evaluation.benchmarks.base import Benchmark, Split, unique
from umed.evaluation.prediction import Prediction
from umed.evaluation.question import Question
from umed.evaluation.rules import labels as rules
from umed.evaluation.rules.labels import LABELS
from umed.evaluation.score import Score
from umed.evaluation.scorer import DEFAULTS, Column, Options, Scorer, Verdict

QUESTION = "What does this picture show?"
SIZES = (28, 64, 128, 224)
# MD5 of the released files, by size (medmnist 3.0.2, info.py)
CHECKSUMS: dict[str, dict[int, str]] = {
    "derma": {
        28: "0744692d530f8e62ec473284d019b0c7",
        64: "b70a2f5635c6199aeaa28c31d7202e1f",
        128: "2defd784463fa5243564e855ed717de1",
        224: "8974907d8e169bef5f5b96bc506ae45d",
    },
    "breast": {
        28: "750601b1f35ba3300ea97c75c52ff8f6",
        64: "742edef2a1fd1524b2efff4bd7ba9364",
        128: "363e4b3f8d712e9b5de15470a2aaadf1",
        224: "b56378a6eefa9fed602bb16d192d4c8b",
    },
    "pneumonia": {
        28: "28209eda62fecd6e6a2d98b1501bb15f",
        64: "8f4eceb4ccffa70c672198ea285246c6",
        128: "05b46931834c231683c68f40c47b2971",
        224: "d6a3c71de1b945ea11211b03746c1fe1",
    },
}


class LabelScorer(Scorer):
    """Rules of pictures with one label of a few: accuracy and AUC of likelihoods, accuracy of written labels.

    Args:
        names: the labels by index.
        title: of the data set in the paper's table.
    """

    answer_types = ("label",)
    rules = ("acc", "acc_generated")

    def __init__(self, names: tuple[str, ...], title: str) -> None:
        self.names = names
        self.columns = (
            Column("acc", f"{title} ACC", "acc", "acc_generated"),
            Column("auc", f"{title} AUC", "auc"),
        )

    def check(self, prediction: Prediction) -> None:
        question, scores = prediction.question, prediction.scores
        expected = f"the labels of {question.dataset}: {'; '.join(self.names)}"
        if question.choices not in (None, self.names):
            raise ValueError(f"choices are not {expected}")
        if scores is not None and set(scores) != set(self.names):
            raise ValueError(f"scores are not of {expected}")
        try:
            rules.gold_label(question.answer, self.names)
        except ValueError as error:
            raise ValueError(f"answer: {error}") from None

    def judge(self, predictions: Sequence[Prediction], options: Options = DEFAULTS) -> list[Verdict]:
        scored = [k for k, prediction in enumerate(predictions) if prediction.scores]
        right = rules.accuracy(*self.matrix([predictions[k] for k in scored]))
        is_right = dict(zip(scored, map(bool, right), strict=True))
        verdicts: list[Verdict] = []
        for k, prediction in enumerate(predictions):
            # what gives scores alone writes no answer
            is_written = bool(prediction.output) or not prediction.scores
            gold = self.gold_output(prediction.question)
            generated = rules.acc_generated(prediction.final_answer, gold, self.names) if is_written else None
            verdicts.append({"acc": is_right.get(k), "auc": None, "acc_generated": generated})
        return verdicts

    def summarize(self, predictions: Sequence[Prediction], verdicts: Sequence[Verdict]) -> list[Score]:
        """`auc`, of all items together; none where a class is missing or nothing has scores."""
        scored = [p for p in predictions if p.scores]
        area = rules.auc(*self.matrix(scored)) if scored else None
        return [] if area is None else [Score(predictions[0].question.dataset, "auc", area, n=len(scored))]

    def chance(self, answer_types: Iterable[str]) -> dict[str, float]:
        return {"acc": 1 / len(self.names), "acc_generated": 1 / len(self.names), "auc": 0.5}

    def gold_output(self, question: Question) -> str:
        return self.names[rules.gold_label(question.answer, self.names)]

    def labels(self, question: Question) -> tuple[str, ...]:
        return self.names

    def note(self, dataset: str, predictions: Sequence[Prediction], scores: Sequence[Score]) -> list[str]:
        if any(score.key == (dataset, "auc", "", "") for score in scores):
            return []
        has_scores = any(p.scores for p in predictions)
        why = "a class is missing among the gold labels" if has_scores else "there are no scores"
        return [f"{dataset}: no auc: {why}"]

    def matrix(self, predictions: Sequence[Prediction]) -> tuple[np.ndarray, np.ndarray]:
        """Labels (N,) and scores (N, C), columns in the order of the label index."""
        golds = np.array([rules.gold_label(p.question.answer, self.names) for p in predictions], int)
        scores = [[(p.scores or {})[name] for name in self.names] for p in predictions]
        return golds, np.array(scores, float).reshape(-1, len(self.names))


class MedMnist(Benchmark):
    """Pictures with one label of a few.

    Args:
        root: folder with `<flag>.npz` (28 px) or `<flag>_<size>.npz`.
        sets: of `derma`, `breast`, `pneumonia`.
        size: 28, 64, 128 or 224 px; results of different sizes are not comparable.
        prefix: of the data sets' names in predictions.
        checksums: set -> MD5 of its file, instead of the published one; for files that a test or a program wrote.
    """

    scorers: Mapping[str, Scorer] = {
        name: LabelScorer(names, name.removeprefix("medmnist_").capitalize()) for name, names in LABELS.items()
    }

    def __init__(
        self,
        root: str | None = None,
        sets: Iterable[str] = ("derma", "breast", "pneumonia"),
        size: int = 28,
        prefix: str = "",
        checksums: Mapping[str, str] | None = None,
    ) -> None:
        if root is None:
            raise InputError("data.benchmark.medmnist.root is not set: give the folder of the .npz files")
        self.sets = [check_choice("data.benchmark.medmnist.sets", name, *CHECKSUMS) for name in sets or ()]
        if not self.sets or size not in SIZES:
            raise InputError(
                f"data.benchmark.medmnist: sets={self.sets}, size={size}: name a set, and 28, 64, 128 or 224"
            )
        self.root, self.size, self.prefix = Path(str(root)), size, prefix
        self.checksums = {name: (checksums or {}).get(name, CHECKSUMS[name][size]) for name in self.sets}
        self.path = {name: self.root / f"{name}mnist{'' if size == 28 else f'_{size}'}.npz" for name in self.sets}
        self.arrays, self.check = cache(self._arrays), cache(self._check)

    @cached_property
    def splits(self) -> dict[str, Split]:  # type: ignore[override]
        found = {}
        for name, path in self.path.items():
            self.check(name)
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            found[self._dataset(name)] = Split(path.name, sha256, str(path))
        return found

    def questions(self) -> list[Question]:
        return unique([q for name in self.sets for q in self._part(name, "test")], str(self.root))

    def train(self) -> list[Question]:
        return [q for name in self.sets for q in self._part(name, "train")]

    def picture(self, question: Question) -> Image.Image:
        images, _ = self.arrays(question.extra["set"], question.extra["part"])
        return Image.fromarray(images[question.extra["number"]]).convert("RGB")

    def _dataset(self, name: str) -> str:
        return f"{self.prefix}medmnist_{name}"

    def _part(self, name: str, part: str) -> list[Question]:
        self.check(name)
        _, labels = self.arrays(name, part)
        names, file = LABELS[f"medmnist_{name}"], self.path[name].name
        return [
            Question(
                id=f"{part}/{number}",
                dataset=self._dataset(name),
                split_file=file,
                question=QUESTION,
                answer=names[label],
                answer_type="label",
                image=f"{file}#{part}/{number}",
                choices=names,
                extra={"set": name, "part": part, "number": number},
            )
            for number, label in enumerate(labels.tolist())
        ]

    def _check(self, name: str) -> None:
        """Refuse a file that is missing or not the one that was published."""
        path, expected = self.path[name], self.checksums[name]
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except FileNotFoundError:
            raise InputError(
                f"no file {path}: download it from medmnist.com, or set data.benchmark.medmnist.size"
            ) from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None
        if found != expected:
            raise InputError(f"{path}: MD5 is {found}, {expected} is published: download the file again")

    def _arrays(self, name: str, part: str) -> tuple[np.ndarray, np.ndarray]:
        """Pictures (N, side, side[, 3]) uint8 and labels (N,) of a part; no other part is read.

        Raises:
            InputError: not such a file.
        """
        path, count = self.path[name], len(LABELS[f"medmnist_{name}"])
        try:
            with np.load(path, allow_pickle=False) as file:
                images, labels = file[f"{part}_images"], file[f"{part}_labels"]
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise InputError(f"{path}: no readable {part} part ({error}): download the file again") from None
        shape = (self.size, self.size, 3) if name == "derma" else (self.size, self.size)
        if images.dtype != np.uint8 or images.shape[1:] != shape:
            raise InputError(
                f"{path}: pictures are {images.dtype} {images.shape}: uint8 (N, {str(shape)[1:]} is expected"
            )
        if labels.shape not in ((len(images), 1), (len(images),)) or labels.dtype.kind not in "iu":
            raise InputError(
                f"{path}: {labels.dtype} labels {labels.shape} of {len(images)} pictures: one each is expected"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < count:
            raise InputError(f"{path}: labels {labels.min()} to {labels.max()}: 0 to {count - 1} are expected")
        return images, labels.reshape(-1)
