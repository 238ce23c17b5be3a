"""Our rules against the scorers that others published, item by item; their code is not part of this project.

`UMED_SCORERS=DIR pytest -m slow tests/parity/test_scorers.py -s`, where DIR holds what you want to compare with:

* `llava_med/`: the files of `llava/eval/eval_metrics/` of LLaVA-Med (`evaluate_metrics.py`, `glossary.py`, `utils.py`);
* `multimedeval/`: the package multimedeval 1.0.0, unpacked;
* `medevalkit/utils.py` of MedEvalKit (`utils/utils.py`), and `mathruler/`, the package mathruler 0.1.0, unpacked;
* `lmms_eval/utils.py` of lmms-eval (`lmms_eval/tasks/slake/utils.py`);
* `pmc_vqa/test.py` of PMC-VQA (`src/MedVInT_TD/test.py`);
* `medmnist/`: the package medmnist 3.0.2, unpacked (needs scikit-learn).

All verdicts of a rule that follows another's must be the other's. Where a rule of ours differs on purpose, every item
that differs must show the documented reason.
"""

import ast
import difflib
import importlib
import os
import random
import re
import string
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from umed.evaluation.rules import choice, compat, labels
from umed.evaluation.rules import short_answers as vqa
from umed.evaluation.rules.nearest import nearest
from umed.evaluation.rules.normalize import norm_llava

DIR = os.environ.get("UMED_SCORERS")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(DIR is None, reason="UMED_SCORERS is not set")]
WORDS = """
    yes no not normal none two 2 10 3 cm 3cm left right lung, lung. the a an T2-weighted x.y mass (mass) 1,5 0.5 cant
    doesnt it's upper lobe ; / [ ] - ? ! > ` , . a.b. effusion Yes No CT MRI X-ray
""".split()  # noqa: SIM905
FIXED = [("normal", "no"), ("Yes.", "Yes"), ("not seen", "no"), ("", "left lung"), ("right, left", "left, right"),
         ("3cm", "3 cm"), ("two", "2"), ("lung lung lung lung", "left lung"), ("a.b." * 20, "ab")]  # fmt: skip


def pairs(count: int = 4000) -> list[tuple[str, str]]:
    """Outputs and golds full of what scorers stumble over."""
    rng = random.Random(5)

    def text(most: int) -> str:
        return "".join(rng.choice(WORDS) + rng.choice([" ", " ", "", ", ", "."]) for _ in range(rng.randint(0, most)))

    drawn = [(text(9), rng.choice([text(3), "yes", "no", "Yes", "No"])) for _ in range(count)]
    return [*FIXED, *drawn, *((gold + " " + said, gold) for said, gold in drawn[: count // 4])]


def folder(name: str) -> Path:
    found = Path(str(DIR)) / name
    if not found.is_dir():
        pytest.skip(f"{name}/ is not in UMED_SCORERS")
    return found


def module(package: str, name: str) -> ModuleType:
    """A module of a package whose own `__init__`, with what it needs, is not run."""
    parent = ModuleType(package)
    parent.__path__ = [str(folder(package))]
    sys.modules[package] = parent
    return importlib.import_module(f"{package}.{name}")


def taken(path: Path, **given: Any) -> dict[str, Any]:
    """The functions and constants at the top of a file, without what it imports.

    Args:
        given: the modules and names that they need.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [part for part in tree.body if isinstance(part, ast.FunctionDef) or _is_constant(part)]
    for part in tree.body:
        if isinstance(part, ast.FunctionDef):  # neither its decorators nor its annotations are needed
            part.decorator_list, part.returns = [], None
            for argument in part.args.args:
                argument.annotation = None
    names = {"re": re, "string": string, "difflib": difflib, **given}
    exec(compile(tree, str(path), "exec"), names)
    return names


def _is_constant(part: ast.stmt) -> bool:
    return isinstance(part, ast.Assign) and not any(isinstance(n, ast.Call) for n in ast.walk(part.value))


def agree(title: str, ours: list[Any], theirs: list[Any]) -> None:
    """Every verdict is the same, and there are verdicts of both kinds."""
    assert len(ours) == len(theirs) >= 100 and len({bool(v) for v in theirs}) == 2
    different = [k for k, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != pytest.approx(b)]
    print(f"\n{title}: {len(ours) - len(different)} of {len(ours)} items agree")
    assert not different, [(k, ours[k], theirs[k]) for k in different[:5]]


def test_a_single_other_verdict_is_noticed() -> None:
    verdicts = [k % 2 == 0 for k in range(2000)]
    with pytest.raises(AssertionError):
        agree("planted", verdicts, [not verdicts[0], *verdicts[1:]])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_llava_med() -> None:
    """`run_eval` normalizes lower-cased answers before its metrics do it again."""
    theirs, glossary = module("llava_med", "evaluate_metrics"), importlib.import_module("llava_med.glossary")

    def both(rule: Callable[[str, str], Any]) -> list[Any]:
        return [rule(*(glossary.normalize_word(text.lower()) for text in pair)) for pair in pairs()]

    agree("LLaVA-Med recall, open_recall", [vqa.open_recall(*p) for p in pairs()],
          both(lambda said, gold: theirs.calculate_f1score(said, gold)[2]))  # fmt: skip
    agree("LLaVA-Med exact match, open_exact@llavamed", [compat.open_exact_llavamed(*p) for p in pairs()],
          both(theirs.calculate_exactmatch))  # fmt: skip
    agree("LLaVA-Med normalized words, norm_llava", [norm_llava(o) == norm_llava(g) for o, g in pairs()],
          both(lambda said, gold: said == gold))  # fmt: skip


def clean_str() -> Callable[[str], str]:
    """MultiMedEval's normalizer, without the imports of its file."""
    source = (folder("multimedeval") / "utils.py").read_text(encoding="utf-8")
    names: dict[str, Any] = {"re": re}
    exec(source[source.index("\ncontractions = {") :], names)
    return names["clean_str"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_multimedeval() -> None:
    """The arithmetic of `VQA.evaluate` on its own normalized texts."""
    clean = clean_str()

    def tokens(pair: tuple[str, str]) -> tuple[set[str], set[str]]:
        said, gold = (set(clean(text).split(" ")) - {""} for text in (pair[0], pair[1].strip()))
        return said, gold

    def recall(said: set[str], gold: set[str]) -> float:
        return len(said & gold) / len(gold) if gold else 0.0

    agree("MultiMedEval clean_str, norm_llava", [norm_llava(o) == norm_llava(g) for o, g in pairs()],
          [clean(o) == clean(g) for o, g in pairs()])  # fmt: skip
    agree("MultiMedEval open, open_recall75@multimedeval", [compat.open_recall75_multimedeval(*p) for p in pairs()],
          [recall(*tokens(p)) >= 0.75 for p in pairs()])  # fmt: skip
    closed = [p for p in pairs() if clean(p[1].strip()) in ("yes", "no")]
    expected = []
    for said, gold in map(tokens, closed):
        expected.append(recall(said, gold | {"not"} if gold == {"no"} else gold) >= 0.4)
    agree("MultiMedEval closed, closed@multimedeval", [compat.closed_multimedeval(*p) for p in closed], expected)

    def is_reason(said: str, gold: str) -> bool:
        """A part of a word counts for closed_contains, "not" for "no" counts for MultiMedEval."""
        return (clean(gold) in clean(said) and clean(gold) not in clean(said).split()) or "not" in clean(said).split()

    strict = [vqa.closed_contains(*p) for p in closed]
    other = [p for p, a, b in zip(closed, strict, expected, strict=True) if a != b]
    print(f"\nMultiMedEval closed, closed_contains: {len(closed) - len(other)} of {len(closed)} items agree, "
          f"{sum(is_reason(*p) for p in other)} differ for a documented reason")  # fmt: skip
    assert other and all(is_reason(*p) for p in other)


def medevalkit() -> dict[str, Any]:
    boxed = taken(folder("mathruler") / "grader.py")["extract_boxed_content"]
    return taken(folder("medevalkit") / "utils.py", extract_boxed_content=boxed)


FRAMES = (
    "{}",
    "The answer is {}",
    "**Answer**: {}",
    "So... <answer>{}</answer>",
    "It is \\boxed{{{}}}.",
    "answer: {}\n",
)


def test_medevalkit() -> None:
    """Closed questions; and letters of choices, which it guesses where none can be read."""
    theirs, rng = medevalkit(), random.Random(7)
    framed = [(rng.choice(FRAMES).format(said), gold) for said, gold in pairs()]
    agree("MedEvalKit judge_judgement, closed@medevalkit", [compat.closed_medevalkit(*p) for p in framed],
          [theirs["judge_judgement"](gold, said) for said, gold in framed])  # fmt: skip
    choices = ["a mass in the left lung", "effusion", "no abnormality", "two stones"]
    said = [frame.format(text) for frame in FRAMES for text in ("A", "b", "C.", "D", *choices, "xyz", "a or b")]
    read = [(text, gold) for text in said for gold in range(4) if choice.read_letter(text, choices) is not None]
    agree("MedEvalKit judge_multi_choice, choice_letter where a letter can be read",
          [choice.choice_letter(text, gold, choices) for text, gold in read],
          [theirs["judge_multi_choice"](choices, "ABCD"[gold], text) for text, gold in read])  # fmt: skip
    for guessed in ("7", "(D)"):  # neither a letter nor a choice to MedEvalKit: index 0 or the most similar one
        assert theirs["judge_multi_choice"](choices, "A", guessed) and not choice.choice_letter(guessed, 0, choices)


def test_lmms_eval() -> None:
    """Exact match on SLAKE: the same for plain answers; each documented difference by an example of its own."""
    alike = taken(folder("lmms_eval") / "utils.py", Any=Any)["normalize_answer"]
    rng, words = random.Random(9), ("left", "right", "lung", "Liver", "CT", "MRI", "upper", "lobe", "Yes", "No")

    def text() -> str:
        said = " ".join(rng.sample(words, rng.randint(1, 2)))
        return rng.choice(["{}", " {} ", "{}.", "{}!", "'{}'", "{}  "]).format(rng.choice([said, said.upper()]))

    plain = [(text(), text()) for _ in range(4000)]
    agree("lmms-eval SLAKE, open_exact of plain answers", [vqa.open_exact(*p) for p in plain],
          [alike(said) == alike(gold) for said, gold in plain])  # fmt: skip
    only_ours = [("right, left", "left, right"), ("the liver", "Liver"), ("two", "2"), ("3 cm", "3cm")]
    only_theirs = [("CT (chest)", "CT"), ("X ray", "X-ray"), ("xray", "X-ray"), ("yeah", "Yes"), ("T1-w", "T1 w")]
    for said, gold in only_ours:
        assert vqa.open_exact(said, gold) and alike(said) != alike(gold), said
    for said, gold in only_theirs:
        assert not vqa.open_exact(said, gold) and alike(said) == alike(gold), said


def test_pmc_vqa() -> None:
    """The most similar of the choices: the index that MedVInT-TD's script finds."""
    theirs = taken(folder("pmc_vqa") / "test.py")["find_most_similar_index"]
    rng = random.Random(11)

    def text(most: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(0, most)))

    items = [([f" {letter}:{text(4)} " for letter in "ABCD"], rng.choice(["ABCD"[rng.randrange(4)], text(40), text(3)]))
             for _ in range(4000)]  # fmt: skip
    agree("PMC-VQA find_most_similar_index, nearest", [nearest(said, choices) for choices, said in items],
          [theirs(choices, said) for choices, said in items])  # fmt: skip


@pytest.mark.parametrize("classes", [2, 7])
def test_medmnist(classes: int) -> None:
    """Accuracy and AUC of the official Evaluator, ties included."""
    pytest.importorskip("sklearn")
    official = module("medmnist", "evaluator")
    task, rng = "binary-class" if classes == 2 else "multi-class", np.random.default_rng(classes)
    for step in (0.01, 0.125):
        for _ in range(20):
            scores_NC = rng.dirichlet(np.ones(classes), 200)
            scores_NC = np.round(scores_NC / step) * step
            labels_N = np.concatenate([np.arange(classes), rng.integers(classes, size=200 - classes)])
            ours = labels.accuracy(labels_N, scores_NC).mean()
            assert ours == pytest.approx(official.getACC(labels_N[:, None], scores_NC, task), abs=1e-12)
            area = labels.auc(labels_N, scores_NC)
            assert area == pytest.approx(official.getAUC(labels_N[:, None], scores_NC, task), abs=1e-12)
