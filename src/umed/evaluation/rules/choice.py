"""The rules of PMC-VQA: which of four choices an answer means, read strictly or by likeness."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from umed.evaluation.rules.letter import LETTERS, find_letter
from umed.evaluation.rules.nearest import nearest
from umed.evaluation.rules.normalize import norm


@lru_cache(maxsize=8)  # the rules of one item ask for the same
def _without_prefix(choices: tuple[str, ...]) -> list[str]:
    marks = "[:.)]" if all(_prefix(k, c, "[:.)]") for k, c in enumerate(choices)) else ":"
    return [c[m.end() :].strip() if (m := _prefix(k, c, marks)) else c.strip() for k, c in enumerate(choices)]


def without_prefix(choices: Sequence[str]) -> list[str]:
    """The texts of choices without their ` B:`, stripped; `B.` and `B)` are prefixes where every choice has one."""
    return list(_without_prefix(tuple(choices)))


def plain(text: str) -> str:
    """A gold text that is none of the choices, without its `B:`, stripped."""
    return re.sub(rf"^\s*[{LETTERS}]\s*:", "", text).strip()


def _prefix(position: int, choice: str, marks: str) -> re.Match[str] | None:
    return re.match(rf"\s*{LETTERS[position]}\s*{marks}", choice) if position < len(LETTERS) else None


def gold_index(answer: str, choices: Sequence[str], letter_first: bool = True) -> int | None:
    """The position of the gold choice, given as its letter or as its text with or without prefix; None = none of them.

    Args:
        letter_first: a single letter is a letter even if a choice's text is the same; for `choice` items.
    """
    texts, wanted = without_prefix(choices), answer.strip()
    by_letter = LETTERS.find(wanted[:1].upper()) if re.fullmatch("[A-Da-d][.:)]?", wanted) else -1
    if by_letter >= 0 and letter_first:
        return by_letter
    for known in (list(choices), [c.strip() for c in choices], texts, list(map(norm, texts))):
        for candidate in (answer, wanted, norm(wanted)):
            if candidate in known:
                return known.index(candidate)
    if by_letter >= 0:
        return by_letter
    place = LETTERS.find(wanted[:1])
    own = _prefix(place, wanted, "[:.)]") if wanted and place >= 0 else None
    return place if own and norm(wanted[own.end() :]) == norm(texts[place]) else None


def read_letter(output: str, choices: Sequence[str]) -> int | None:
    """The position of the choice that an answer names, see `find_letter`; None where that cannot be read."""
    return find_letter(output, without_prefix(choices))


def choice_letter(output: str, gold: int, choices: Sequence[str]) -> bool:
    """Whether the letter read from the output is the gold one; what cannot be read is wrong."""
    return read_letter(output, choices) == gold


def choice_nearest(output: str, gold: int, choices: Sequence[str]) -> bool:
    """Whether the choice nearest to the output is the one nearest to the gold choice: MedVInT-TD's own rule.

    xiaoman-zhang/PMC-VQA, `test.py`, bug for bug: a single letter is compared with whole choice strings, prefix and
    spaces included, so that "A" may select another choice. Its author says that letters are meant to be compared:
    that is `choice_letter`.
    """
    found = nearest(output, choices)
    return found is not None and found == nearest(choices[gold], choices)


def choice_likelihood(scores: Mapping[str, float], gold: int) -> bool:
    """Whether the letter with the highest score, the first of equals, is the gold one."""
    values = [scores[letter] for letter in LETTERS]
    return values.index(max(values)) == gold


def blank_exact(output: str, gold: str) -> bool:
    """Equal to the gold text without prefix after `norm`."""
    return bool(norm(output)) and norm(output) == norm(gold)


def blank_nearest(output: str, gold: str, choices: Sequence[str]) -> bool:
    """Whether the nearest of the four choice texts, prefix removed, is the gold text; after MedVInT-TD's script."""
    texts = without_prefix(choices)
    found = nearest(output, texts)
    return found is not None and texts[found] == gold
