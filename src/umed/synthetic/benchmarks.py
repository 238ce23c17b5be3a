"""The embedded SYNTHETIC benchmarks: drawn stand-ins for all six data sets, in the formats of these."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from umed.errors import check_positive
from umed.evaluation.benchmarks.base import Benchmark, Split
from umed.evaluation.benchmarks.medmnist import MedMnist
from umed.evaluation.benchmarks.pmc_vqa import PmcVqa
from umed.evaluation.benchmarks.slake import Slake
from umed.evaluation.benchmarks.vqa_rad import VqaRad
from umed.evaluation.question import Question
from umed.evaluation.rules.labels import LABELS
from umed.evaluation.scorer import Scorer
from umed.records import SYNTHETIC
from umed.synthetic.benchmark_formats import PMC_V1, write_medmnist, write_pmc_vqa, write_slake, write_vqa_rad
from umed.synthetic.drawn_once import draw_once, is_drawn
from umed.synthetic.pictures import CATEGORIES, PARTS, draw
from umed.synthetic.pictures.labels import DRAWERS

VERSION = 2  # raised when the same seed would write other files
NOTE = "SYNTHETIC questions about pictures that a program drew; no patient, and not the benchmark of that name\n"
OPTION = "data.benchmark.phantom.root"
ASK_MODALITY, ASK_FINDING = "What modality is used to take this image?", "What is abnormal in this image?"
ASK_WHETHER, ASK_FIGURE = "Does the image show {}?", "What is shown in this figure?"
Scene = tuple[Image.Image, str, tuple[str, ...]]  # picture, modality, what is abnormal on it


class PhantomBenchmarks(Benchmark):
    """Draws once into `<root>/<data set>`; what lies there already is read again.

    Args:
        root: folder of the four formats.
        num_items: test questions of each data set, at least; half as many are for training. One test picture in six is
            in training too, so that the leak report has something to tell.
        seed: of pictures and questions.
    """

    scorers: Mapping[str, Scorer] = {**VqaRad.scorers, **Slake.scorers, **PmcVqa.scorers, **MedMnist.scorers}

    def __init__(self, root: str, num_items: int = 24, seed: int = 11) -> None:
        check_positive("data.benchmark.phantom.num_items", num_items)
        self.root, self.num_items, self.seed = Path(root), num_items, seed

    @cached_property
    def parts(self) -> list[Benchmark]:
        """The real loaders on what was drawn.

        Raises:
            InputError: it was drawn with other parameters.
        """
        parameters = {"version": VERSION, "num_items": self.num_items, "seed": self.seed}
        if not is_drawn(self.root, parameters, OPTION):
            draw_once(self.root, parameters, OPTION, NOTE, self._write)
        checksums = json.loads((self.root / "phantom.json").read_text(encoding="utf-8"))["checksums"]
        return [
            VqaRad(str(self.root / "vqa_rad"), dataset=f"{SYNTHETIC}vqa_rad"),
            Slake(str(self.root / "slake"), dataset=f"{SYNTHETIC}slake"),
            PmcVqa(str(self.root / "pmc_vqa"), dataset=f"{SYNTHETIC}pmc_vqa"),
            MedMnist(str(self.root / "medmnist"), prefix=SYNTHETIC, checksums=checksums),
        ]

    @property
    def splits(self) -> dict[str, Split]:  # type: ignore[override]
        return {dataset: split for part in self.parts for dataset, split in part.splits.items()}

    def questions(self) -> list[Question]:
        return [question for part in self.parts for question in part.questions()]

    def train(self) -> list[Question]:
        return [question for part in self.parts for question in part.train()]

    def picture(self, question: Question) -> Image.Image:
        return self._owner[question.dataset].picture(question)

    @cached_property
    def _owner(self) -> dict[str, Benchmark]:
        return {dataset: part for part in self.parts for dataset in part.splits}

    def _write(self, folder: Path) -> dict[str, Any]:
        """Every data set; the checksums of MedMNIST's files."""
        self._write_scenes(folder)
        rng = np.random.default_rng([self.seed, 1])
        checksums = {}
        for name, drawer in DRAWERS.items():
            parts = {}
            for part, count in {"train": self.num_items, "val": 4, "test": self.num_items}.items():
                labels = np.arange(count) % len(LABELS[f"medmnist_{name}"])
                parts[part] = np.stack([drawer(rng, int(label)) for label in labels]), labels
            parts["test"][0][0] = parts["train"][0][0]  # a leak, with the same label
            checksums[name] = write_medmnist(folder / "medmnist" / f"{name}mnist.npz", parts)
        return {"checksums": checksums}

    def _write_scenes(self, root: Path) -> None:
        """VQA-RAD, SLAKE and PMC-VQA: questions about pictures drawn as those of the synthetic MAU."""
        rng = np.random.default_rng([self.seed, 0])
        count = -(-self.num_items // 3)  # three questions a picture
        scenes = [_scene(self.seed, number) for number in range(count + count // 2)]
        trained = [*range(count, len(scenes)), *range(0, count, 6)]
        test = [q for number in range(count) for q in _questions(rng, number, scenes[number])]
        train = [q for number in trained for q in _questions(rng, number, scenes[number])]
        rows: list[dict[str, Any]] = []
        for phrase, questions in (("test_freeform", test), ("freeform", train)):
            for number, question, answer, kind in questions:
                image = {"image_name": f"synpic{number}.jpg", "image_organ": "ABD", "phrase_type": phrase}
                own = {"qid": len(rows) + 1, "question": question, "answer": answer, "answer_type": kind}
                rows.append({**image, **own})
        write_vqa_rad(root / "vqa_rad", rows, {f"synpic{k}.jpg": scene[0] for k, scene in enumerate(scenes)})
        parts: dict[str, list[dict[str, Any]]] = {"test": [], "train": []}
        for name, questions in (("test", test), ("train", train)):
            for number, question, answer, kind in questions:
                image = {"img_name": f"xmlab{number}/source.jpg", "q_lang": "en"}
                own = {"qid": len(parts[name]), "question": question, "answer": answer, "answer_type": kind}
                parts[name].append({**image, **own, "modality": scenes[number][1], "base_type": "vqa"})
        pictures = {f"xmlab{k}/source.jpg": scene[0] for k, scene in enumerate(scenes)}
        write_slake(root / "slake", parts, pictures)
        half = -(-self.num_items // 2)  # a choice and a blank a row
        figures = {f"PMC{k}_F1.jpg": _scene(self.seed + 1, k) for k in range(half)}
        table = [_choices(rng, name, scene) for name, scene in figures.items()]
        write_pmc_vqa(root / "pmc_vqa", "test_clean.csv", PMC_V1, table, {k: s[0] for k, s in figures.items()})
        write_pmc_vqa(root / "pmc_vqa", "train.csv", PMC_V1, table[::6], {})


def _scene(seed: int, number: int) -> Scene:
    parts = list(PARTS)
    part = parts[number % len(parts)]
    (picture, lesions), _ = draw(part, seed, number // len(parts))
    return picture, PARTS[part][0], tuple(dict.fromkeys(lesion.category for lesion in lesions))


def _questions(rng: np.random.Generator, number: int, scene: Scene) -> list[tuple[int, str, str, str]]:
    """Picture, question, answer and type; yes and no take turns."""
    _, modality, categories = scene
    other = str(rng.choice([c for c in CATEGORIES if c not in categories]))
    asked, answer = (categories[0], "Yes") if number % 2 else (other, "No")
    return [
        (number, ASK_MODALITY, modality, "OPEN"),
        (number, ASK_FINDING, categories[0], "OPEN"),
        (number, ASK_WHETHER.format(asked), answer, "CLOSED"),
    ]


def _choices(rng: np.random.Generator, name: str, scene: Scene) -> tuple[str, ...]:
    """A row of PMC-VQA, its choices in random order."""
    category = scene[2][0]
    others = rng.choice([c for c in CATEGORIES if c not in scene[2]], 3, replace=False)
    texts = rng.permutation([category, *others])
    label = "ABCD"[list(texts).index(category)]
    choices = [f" {letter}:{text} " for letter, text in zip("ABCD", texts, strict=True)]
    return (name, f"{ASK_FIGURE} ", f" {category} ", *choices, label)
