"""Two ways to make answers comparable: `norm` is ours and strict, `norm_llava` is the one of the public harnesses."""

import re
import unicodedata
from functools import lru_cache

_ARTICLES = {"a", "an", "the"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGIT = {word: str(number) for number, word in enumerate(_NUMBERS)}
_ENDS = " .,;:!?\"'()[]*`"
_MARKS = frozenset(["Po", "Ps", "Pe", "Pi", "Pf"])  # Unicode's punctuation without dashes and underscores
_MEASURES = "\u2030\u2031\u2032\u2033\u2034"  # per mille, minutes and the like
_FOLDED = str.maketrans({"、": ",", "\u060c": ",", "。": "."})  # what NFKC leaves as it is
_UNIT = re.compile(r"(\d) (mm|cm|ml|kg|m|l|g|%)(?!\w)")


def fold(text: str) -> str:
    """The text with commas, full stops and the width of characters as in ASCII (NFKC)."""
    return unicodedata.normalize("NFKC", text).translate(_FOLDED)


@lru_cache(maxsize=200_000)
def norm(text: object) -> str:
    """Case, width, white space, outer punctuation, articles, number words and the space before a unit made alike."""
    normalized = " ".join(fold(str(text)).casefold().split())
    foreign = {c for c in normalized if not c.isascii() and unicodedata.category(c) in _MARKS and c not in _MEASURES}
    words = normalized.strip("".join([_ENDS, *foreign])).split()
    return _UNIT.sub(r"\1\2", " ".join(_DIGIT.get(word, word) for word in words if word not in _ARTICLES))


_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGIT_COMMA = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")
_STOPS = 32  # in the original a flag is passed where the number of replacements is expected
_MANY = {**_DIGIT, "none": "0"}
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've why'll
why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _without_one(word: str) -> list[str]:
    """The word with each of its apostrophes left out in turn."""
    return [word[:k] + word[k + 1 :] for k, letter in enumerate(word) if letter == "'"]


_CONTRACTIONS = {wrong: word for word in _CONTRACTED.split() for wrong in _without_one(word)}
_CONTRACTIONS["somebody'd"] = "somebodyd"  # so it stands in the usual list


@lru_cache(maxsize=200_000)
def norm_llava(text: str) -> str:
    """The VQA-style normalizer as LLaVA-Med v1.0.0 ships it (`glossary.normalize_word`), bug for bug.

    MultiMedEval (`clean_str`) and MedVLMBench carry the same copy. The text is lower-cased first, as their callers do.
    """
    normalized = given = text.lower()
    everywhere = _DIGIT_COMMA.search(given) is not None
    for mark in _PUNCTUATION:
        if mark in given:  # both tests look at the given text, the changes add up
            near_space = mark + " " in given or " " + mark in given
            normalized = normalized.replace(mark, "" if everywhere or near_space else " ")
    normalized = _STOP.sub("", normalized, count=_STOPS)
    words = (_MANY.get(word, word) for word in normalized.split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
