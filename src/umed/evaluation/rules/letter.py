"""Which letter an answer to a question with four choices states, in whatever dress; never a guess."""

import re
import unicodedata
from collections.abc import Sequence

from umed.evaluation.rules.normalize import norm

LETTERS = "ABCD"

_WRAPPED = re.compile(r"\\(?:text|math)[a-z]*\s*\{([^{}]*)\}")
_NESTED = 4  # LaTeX commands inside each other that are unwrapped
_INSIDE = re.compile(
    r"<(?:final[_ -]?)?answer>((?:(?!<(?:final[_ -]?)?answer>).)*?)</(?:final[_ -]?)?answer>"
    r"|<\|begin_of_box\|>((?:(?!<\|begin_of_box\|>).)*?)<\|end_of_box\|>"
    r"|\\boxed\s*\{((?:[^{}]++|\{[^{}]*+\})*+)\}",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"<\|[^<>|]*\|>|</?(?:[A-Za-z][A-Za-z_]+|[bipsu])/?>|\\[()\[\]]")
_DRESS = str.maketrans(
    {
        **dict.fromkeys('*`"$#\u200b\ufeff\u201c\u201d\u201e\u00ab\u00bb', ""),
        **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
        **dict.fromkeys("【「『《〈⟨", "("),
        **dict.fromkeys("】」』》〉⟩", ")"),
        "。": ". ",
        "、": ", ",
    }
)
_QUOTE = re.compile(r"(?<!\w)'|'(?!\w)|(?<![^\W_])_+|_+(?![^\W_])")
_SCRIPTS = re.compile(r"(?<=[\u3040-\u9fff])(?=[A-Za-z])|(?<=[A-Za-z])(?=[\u3040-\u9fff])")
_BULLET = re.compile(r"(?:[->\u2022\u2013] )+")
_SENTENCE = re.compile(r"(?<=[.;!?]) |(?<=[;!?])(?=\w)")

_OPEN = r"[ :(\[{<]{0,4}"
_END = r"(?![\w/]|['-]\w)"  # a letter begins no word
_UPPER = rf"([A-D]){_END}"
_LETTER = rf"([A-Db-d]|a(?=[.)\]])){_END}"  # a bare `a` is the article
_CHOICE = r"(?:option|choice|letter|选项)"
_NOUN = (
    r"(?:\b(?:answer|ans|option|choice|letter|selection)\b|答案|选项)(?: (?:to|for) (?:this|the) question)?"
    r"(?: (?:among|from|of) the (?:\w+ )?(?:options|choices))?(?:, \w+,)?"
)
_BE = r"(?:is|was|(?:would|should|must|will|has to|appears to|seems to)(?: therefore)? be)\b"
_IS = rf" ?(?:{_BE}|[:=]|[-\u2013\u2014]>?|\u2192|应该是|应为|应选|是|为|选)"
_FILL = rf"(?: ?(?::|(?:the|most|likely|probably|therefore|clearly|definitely|answer|correct|best)\b|{_CHOICE})){{0,4}}"
_CHOOSE = r"(?:\b(?:choose|chose|select|selected|pick|picked|go with|going with|opt for)\b|(?<!不)选择?(?!项))"
_SO = r"(?:\b(?:so|therefore|thus|hence|but|instead|definitely|probably|think|say|it is|it's)\b,?|所以|因此|故|而是)"
_RIGHT = (
    r"(?:(?:correct|right|best|true)(?= ?(?:$|[.,;!)]|(?:answer|choice|option|one|because|since|and|as)\b))"
    r"|answer\b|正确|对|最佳|答案)"
)
# behind a letter: the end, a mark, or a word that goes on after an answer; "A mass" and "B cell" are no letters
_ON = "because|since|as|due|given|for|from|based|which|that|and|or|but|so|is|with|in|on|not|if|here|when|where"
_FREE = rf"(?! (?!(?:{_ON})\b)[A-Za-z0-9])"
_STATED = [
    re.compile(rf"(?i:{_NOUN}{_IS}{_FILL}){_OPEN}{_LETTER}{_FREE}"),
    re.compile(rf"(?i:{_CHOOSE}{_FILL}){_OPEN}{_LETTER}{_FREE}"),
    re.compile(
        rf"(?<![\w-])(?<!\bor ){_UPPER}[)\]]? (?i:(?:选项 ?)?(?:{_BE}|是|为) ?(?:(?:the|most|likely) ){{0,3}}{_RIGHT}"
        "|(?:选?项 ?)?正确)"
    ),
    re.compile(rf"(?i:{_SO} ?(?:(?:it is|it's|it must be|{_CHOICE}) )?){_OPEN}{_LETTER}[)\]]{{0,2}}[.!]?$"),
]
_MENTIONED = [
    re.compile(rf"(?i:\b(?:option|choice)\b|选项){_OPEN}{_LETTER}"),
    re.compile(rf"(?i:\banswer) [(\[]?{_LETTER}{_FREE}"),
    re.compile(rf"(?<![\w-]){_UPPER} 选项"),
]
_WRONG = re.compile(
    rf"(?i:(?:(?:\bnot|n't|\bnever|\bcannot) (?:\w+ )?{_CHOOSE}|\b(?:exclude|eliminate|discard|reject|rule out)\b"
    rf"|不(?:应该?|能|会|可以?)选?择?|排除){_FILL})(?:{_OPEN}){_UPPER}"
    rf"|(?i:{_CHOICE})?{_OPEN}(?<!\w)[A-D][)\]]? (?:(?i:(?:is|was|can be|could be)"
    r" (?:not|wrong|incorrect|false|(?:less |un)likely|ruled out|excluded|eliminated)\b|isn't)|(?:选项 ?)?是?(?:错|不))"
)
_ALSO = re.compile(
    rf"[)\]}}.]{{0,2}} ?(?:[,/&+]|\b(?:and|or)\b|或|和|与|及) ?(?:(?:and|or) )?(?i:{_CHOICE})?{_OPEN}{_UPPER}{_FREE}"
)
_ALONE = re.compile(r"[(\[{<]{0,2}([A-D])[)\]}>]{0,2}[.:),;!]{0,3}", re.IGNORECASE)
_FIRST = re.compile(r"[(\[{<]{0,2}([A-D])(?:[)\]}>.:]|, | [-\u2013\u2014] | (?:because|since)\b)")


def find_letter(output: str, texts: Sequence[str]) -> int | None:
    """The position of the letter that an answer states, or of the choice whose text it is; None where that is unclear.

    Of answer tags and boxes the last counts. Quotes, Markdown, LaTeX, tags, brackets and the width of characters do not
    matter. A letter is stated by standing alone, as the whole answer or on a line; by beginning the answer with a mark
    behind it; or by a sentence such as "the answer is B" or "B is correct". All that are stated must be the same one.
    Where none is, "option B" counts. A list of all choices is passed over, and so is the article "A".

    Args:
        texts: of the choices, without prefix.
    """
    text = _undress(output)
    if whole := _ALONE.fullmatch(text):
        return LETTERS.index(whole[1].upper())
    if same := [k for k, choice in enumerate(texts) if norm(text) and norm(choice) == norm(text)]:
        return same[0] if len(same) == 1 else None
    lines = [line[bullet.end() if (bullet := _BULLET.match(line)) else 0 :] for line in _mark(text, texts).split("\n")]
    stated, mentioned = _find_alone(lines) | _find_first(lines), set[str]()
    sentences = (s for line in lines for s in _SENTENCE.split(line) if not s.endswith("?"))  # a question states nothing
    for sentence in (_WRONG.sub(" ; ", s) for s in sentences):
        named = _find_letters(_MENTIONED, sentence)
        mentioned |= named
        if found := _find_letters(_STATED, sentence):
            stated |= found | named
    letters = stated or mentioned
    return LETTERS.index(letters.pop()) if len(letters) == 1 else None


def _find_letters(patterns: Sequence[re.Pattern[str]], sentence: str) -> set[str]:
    """The letters that one of the patterns finds, and those that are listed behind them."""
    hits = [hit for pattern in patterns for hit in pattern.finditer(sentence)]
    others = [other for hit in hits if (other := _ALSO.match(sentence, hit.end(1)))]
    return {hit[1].upper() for hit in (*hits, *others)}


def _undress(output: str) -> str:
    """What stands in the last answer tag or box, else everything, in plain characters with single spaces and breaks."""
    text = unicodedata.normalize("NFKC", output)
    for _ in range(_NESTED):
        text = _WRAPPED.sub(r"\1", text)
    while insides := [inside for found in _INSIDE.findall(text) if (inside := "".join(found)).strip()]:
        text = insides[-1]
    text = _QUOTE.sub("", _TAG.sub(" ", text).translate(_DRESS))
    return "\n".join(" ".join(line.split()) for line in _SCRIPTS.sub(" ", text).splitlines() if line.strip())


def _mark(text: str, texts: Sequence[str]) -> str:
    """`B.` for each letter that has its own choice's text beside it; a list of all choices is left out."""
    known, patterns = " ".join(_words(text)), []
    for letter, words in zip(LETTERS, map(_words, texts), strict=False):
        if words and " ".join(words) in known:  # else no pattern need be compiled
            choice = "(?i:" + r"\W{1,3}".join(words) + ")"
            beside = rf"(?<!\w)[(\[]?{letter}\b[ .:)\]-]{{0,3}}\b{choice}\b|(?<!\w){choice}\W{{0,2}}[(\[]{letter}[)\]]"
            patterns.append((letter, re.compile(beside)))
    if len(patterns) == len(LETTERS) and all(pattern.search(text) for _, pattern in patterns):
        for _, pattern in patterns:
            text = pattern.sub("", text, count=1)
    for letter, pattern in patterns:
        text = pattern.sub(f"{letter}.", text)
    return text.strip()


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def _find_alone(lines: Sequence[str]) -> set[str]:
    """The letters that stand alone on a line; a bare `a` may be the article of a broken line."""
    return {alone[1].upper() for line in lines if line != "a" and (alone := _ALONE.fullmatch(line))}


def _find_first(lines: Sequence[str]) -> set[str]:
    """The letter that begins the answer and one that is listed with it; empty where lines for A and B begin it."""
    firsts = [first for line in lines if (first := _FIRST.match(line))]
    if not firsts or not _FIRST.match(lines[0]) or [first[1] for first in firsts[:2]] == ["A", "B"]:
        return set()
    also = _ALSO.match(lines[0], firsts[0].end(1))
    return {firsts[0][1]} | ({also[1]} if also else set())
