"""`OverlapJudge`: the offline judge; deterministic, no model, no network."""

import re
from collections import Counter
from collections.abc import Sequence

from umed.errors import InputError
from umed.evaluation.rules.mentions import named
from umed.judges.base import JudgeItem, Verdict

_STOP_WORDS = frozenset(
    [
        "a", "an", "and", "are", "as", "at", "be", "been", "by", "for", "from", "has", "have", "in", "is", "it", "its",
        "of", "on", "or", "that", "the", "there", "these", "this", "to", "was", "were", "which", "with",
    ]
)  # fmt: skip


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def token_f1(answer: str, gold: str) -> float:
    """F1 of the content words of two texts, each word as often as it occurs."""
    words, gold_words = (Counter(w for w in _words(text) if w not in _STOP_WORDS) for text in (answer, gold))
    shared = (words & gold_words).total()
    return 2 * shared / (words.total() + gold_words.total()) if shared else 0.0


class OverlapJudge:
    """Rewards naming the gold category and no other one, and sharing words with the gold diagnosis (reading R14).

    Score = `category_weight` * (1 if the right category is named) + (1 - `category_weight`) * F1 of the content words;
    the gold diagnosis itself scores exactly 1. Another category that the gold diagnosis names too may be named. Without
    a gold diagnosis the category alone counts.
    With `category_weight` >= 0.5 a right category always beats a wrong one.
    """

    def __init__(self, category_weight: float = 0.5) -> None:
        if not 0 <= category_weight <= 1:
            raise InputError(f"judge.category_weight={category_weight}: a number from 0 to 1 is expected")
        self.category_weight = category_weight

    def __call__(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        return [self._judge(item) for item in items]

    def _judge(self, item: JudgeItem) -> Verdict:
        gold, known = _words(item.gold), (item.category, *item.others)
        if not gold and not item.category:
            return Verdict(None, "no gold diagnosis")
        if gold and _words(item.answer) == gold:
            return Verdict(1.0)
        in_answer = named(item.answer, known)
        right = item.category in in_answer and in_answer <= named(item.gold, known) | {item.category}
        if not gold:  # a picture whose category is known and that nobody has described
            return Verdict(float(right))
        return Verdict(self.category_weight * right + (1 - self.category_weight) * token_f1(item.answer, item.gold))
