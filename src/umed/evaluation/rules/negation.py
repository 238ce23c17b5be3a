"""Whether a text denies what it names: words of denial and how far they reach, after NegEx.

Chapman et al., A Simple Algorithm for Identifying Negated Findings and Diseases in Discharge Summaries, 2001.
"""

import re
from bisect import bisect_right
from functools import lru_cache

_REACH = 500  # characters of a sentence that are looked at on each side of a name
_END = re.compile(r"[.!?;][\"')\]*_]*(?=\s|$)|\n\s*(?=[^a-z\s])|\n\s*\n")  # a broken line goes on in lower case
_NOT = r"(?:not|cannot|(?:is|are|was|were|do|does|did|has|have|ca|can|could|would|should)n['\u2019]?t)"
_OUT = r"(?:rul(?:e|ed|es|ing) out|exclud(?:e|ed|es|ing))"

# words of denial that deny nothing, or another denial
_VOID = re.compile(
    rf"\b(?:no|without|{_NOT})\s+(?:\w+\s+){{0,2}}(?:changed?|increased?|decreased?|improve(?:d|ment)"
    r"|progress(?:ed|ion)|worsen(?:ed|ing)|enlargement|difference|growth|doubt|question"
    r"|contrast|reason to doubt|evidence against|resol(?:ved?|ution)|clear(?:ed|ing)|disappear(?:ed|ance))\b"
    r"|\b(?:partial|part|incomplete|near|almost|large|most|slight)(?:ly)?(?:[\s-]\w+ly)?\s+(?:resol(?:ved|ution)|cleared|gone)\b"
    rf"|\b{_NOT}\s+(?:only|just|merely|necessarily|certain|clear|sure|previously|well|far)\b"
    rf"|\b{_NOT}\s+(?:a\s+|an\s+|the\s+|entirely\s+|completely\s+|quite\s+)*(?:normal|healthy|unremarkable)\b"
    rf"|\b(?:no|never|without|unable\s+to|fails?\s+to|{_NOT})\s+"
    r"(?:(?:be|been|yet|to|enough|possible|evidence|\w+ly)\s+){0,3}"
    rf"(?:without|absent|absence of|lacking|lack of|free of|negative|missing|unlikely|den(?:y|ied)"
    rf"|doubt(?:ed)?|{_OUT})\b"
    rf"|\b(?:(?:should|must|may|might|to)\s+be|difficult\s+to|hard\s+to|impossible\s+to)\s+(?:\w+ly\s+)?{_OUT}\b",
    re.IGNORECASE,
)
# in front of the name; those of the first kind take a noun, so that a verb behind it ends their reach
_WITHOUT = (
    r"without|w/o|absence of|lack of|lacks|lacking|(?:free|clear|devoid) (?:of|from)"
    r"|resolution of|inconsistent with|negative for|rather than|instead of"
    r"|(?:excludes|excluding|rules out|ruling out|denies|denied|denying)|^\W*(?:ruled out|excluded|absent|resolved)"
    r"|(?:low|little) (?:likelihood|probability|suspicion) (?:of|for)|insufficient evidence (?:of|for)"
)
_NEITHER = r"no(?!\s*,)|none of|neither|nor|nothing"
_DENY = rf"{_NOT}|never|fail(?:s|ed)? to|unable to|unlikely"
_BEFORE = re.compile(rf"(?<![\w-])(?:(?P<noun>{_WITHOUT})|(?P<none>{_NEITHER})|{_DENY})(?!\w)", re.IGNORECASE)
# behind the name: what it is, or is not
_SEEN = (
    r"(?:seen|present|visible|visuali[sz]ed|identified|noted|found|detect(?:ed|able)|evident|appreciated|demonstrated"
    r"|observed|shown|apparent|suspected|there|confirmed|recogni[sz]ed|revealed|diagnosed|depicted|discern(?:ed|ible))\b"
)
_IS = r"(?:(?:is|are|was|were|has|have|been|be|appears?|seems?|remains?|can|could|both|all|now|also|\w+ly)\s+)*"
_AFTER = re.compile(
    rf"(?:^|[\s:(\[,\u2013-]){_IS}(?:(?:{_NOT}|no longer|never|nowhere)\s+(?:(?:\w+ly|yet|be|been|to)\s+){{0,3}}{_SEEN}"
    r"|(?:absent|ruled out|excluded|unlikely|negative|resolved|cleared|disappeared|gone)\b)"
    r"|^\W*[:=(\[\u2013-]\s*(?:none|nil|false|no(?: evidence)?)\W*(?:$|[,)])"
    r"|^[-\s]free\b(?!\s+(?:air|fluid|gas))",
    re.IGNORECASE,
)
_STILL = r"(?:new|persist\w*|residual|remaining|stable|unchanged|worsening)"
# where another statement begins
_TURN = re.compile(
    r"\b(?:but|however|although|though|whereas|while|except|excepting|apart from|aside from|other than|besides"
    r"|nevertheless|nonetheless|only|(?<=\w )yet|positive for|instead(?! of)|rather(?! than)"
    rf"|with {_STILL}"
    r"|(?<!that )there (?:is|are|was|were)|and (?:there|an?|the|it|this|these|is|are|shows?|has|have|also|instead))\b"
    r"|\s[-\u2013\u2014]+\s|\u2014|\)",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|may|might|can|could|will|shows?|reveals?|demonstrates?|suggests?|indicates?"
    rf"|represents?|remains?|persists?|likely|probabl[ey]|possibl[ey]|consistent|compatible|suggestive|{_SEEN})\b",
    re.IGNORECASE,
)
_ADJECTIVE = re.compile(rf"\s*(?:any\s+|\w+ly\s+)?{_SEEN}", re.IGNORECASE)  # "without visible X"
_EARLIER = re.compile(r"\s*(?:on|in|at)\s+(?:the\s+|an?\s+|any\s+)?(?:prior|previous|earlier|comparison|old)\b", re.I)
_NEW = re.compile(
    r"\s*(?:an?|the|there|this|these|it|some|one|two|several|multiple|with|mild|moderate|severe"
    rf"|small|{_STILL})\b",
    re.IGNORECASE,
)
_PLACE = r"\b(?:left|right|bilateral|upper|lower|middle|base|apex|lobe)\b"
_PLACED = re.compile(rf"{_PLACE}|\[", re.IGNORECASE)
_CLOSED = re.compile(rf"{_PLACE}(?:\s+\w+)?\s*$", re.IGNORECASE)
_OR = re.compile(r"\b(?:or|nor)\b", re.IGNORECASE)
_AND = re.compile(r"\b(?:and|or|nor)\b", re.IGNORECASE)
_NO = re.compile(r"\s*(?:no|none|not|negative)\b", re.IGNORECASE)
_BEFORE_NOW = re.compile(r"\b(?:previously|formerly|earlier|once)\s+\w+", re.IGNORECASE)  # of the past, no statement
_PARENTHESES = re.compile(r"\([^()]*\)")


def is_negated(text: str, start: int, end: int) -> bool:
    """Whether the sentence denies the name that stands from `start` to `end`.

    A word of denial in front reaches on through a list ("no X, Y or Z"), until "but" or the like, or until another
    statement begins ("no X, a Y is seen"). One behind it ("X is not seen", "X: none") reaches back to where its own
    statement begins. "No change in X", "not only X" and "X cannot be excluded" deny nothing.
    """
    ends = _find_ends(text)
    place = bisect_right(ends, (start, start))
    begin, (stop, following) = ends[place - 1][1], ends[place]
    if text[stop : stop + 1] == "?" and _NO.match(text, following):
        return True
    before = _VOID.sub(" ", text[max(begin, start - _REACH) : start])
    after = _VOID.sub(" is ", text[end : min(stop, end + _REACH)])
    return _is_denied_before(before, after) or _is_denied_behind(before, after)


@lru_cache(maxsize=8)  # all names in a text are asked for
def _find_ends(text: str) -> list[tuple[int, int]]:
    """Where sentences end and the next ones begin, with the text's own ends around."""
    return [(0, 0), *(hit.span() for hit in _END.finditer(text)), (len(text), len(text))]


def _is_denied_before(before: str, after: str) -> bool:
    return any(_reaches(hit, before[hit.end() :], after) for hit in _BEFORE.finditer(before))


def _reaches(denial: re.Match[str], between: str, after: str) -> bool:
    """Whether a denial reaches over what stands between it and the name."""
    between = _PARENTHESES.sub(" ", between)
    if denial["noun"] and (adjective := _ADJECTIVE.match(between)):
        between = between[adjective.end() :]
    if _TURN.search(between) or (denial["noun"] and _VERB.search(between)):
        return False
    first, *listed = re.split("[,:]", between)
    behind = re.split("[,:]", after)[0]
    has_or = bool(_OR.search(",".join(listed) + after))
    if listed and not has_or and _CLOSED.search(first):
        return False
    for number, part in enumerate(listed, 1):
        whole = part + behind if number == len(listed) else part
        if _AND.match(whole.lstrip()):
            continue
        if _VERB.search(whole) or (not has_or and (_NEW.match(whole) or _PLACED.search(whole))):
            return False
    # "it is not large and X is seen"
    is_joined = re.search(r"\band\b", (listed or [first])[-1]) and not (denial["noun"] or denial["none"])
    return not (is_joined and _VERB.search(behind))


def _is_denied_behind(before: str, after: str) -> bool:
    """Whether a denial behind the name is of the name's own statement."""
    hit = _AFTER.search(after)
    if hit is None or _EARLIER.match(after, hit.end()):
        return False
    between = _BEFORE_NOW.sub(" ", _PARENTHESES.sub(" ", after[: hit.start()]))
    if _TURN.search(between) or _VERB.search(between) or "that" in between or "which" in between:
        return False
    if _VERB.search(before.split(",")[-1]):  # "there is X, Y is not seen"
        return not ("," in between or _AND.search(between))
    return "," not in between or bool(_AND.search(between))
