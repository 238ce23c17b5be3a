"""What a model is asked about a benchmark's item, and which answers its likelihoods are compared of."""

from string import Formatter

from umed.errors import InputError
from umed.evaluation.question import Question
from umed.evaluation.rules.choice import LETTERS, without_prefix

_FIELDS = {
    "open": {"question"},
    "closed": {"question"},
    "choice": {"question", *LETTERS, *LETTERS.lower()},
    "blank": {"question"},
    "label": {"question", "labels"},
    "choice_answer": {"letter", "text"},
    "label_answer": {"label"},
}


class Protocol:
    """Prompt texts by answer type.

    Args:
        name: stands beside every result.
        open, closed, choice, blank, label: the text of a query; see `conf/data/protocol/ours.yaml` for the fields.
        choice_answer, label_answer: the text of a candidate answer.

    Raises:
        InputError: a field in braces that the text cannot have.
    """

    def __init__(
        self,
        name: str,
        open: str,
        closed: str,
        choice: str,
        blank: str,
        label: str,
        choice_answer: str,
        label_answer: str,
    ) -> None:
        self.name = name
        self.queries = {"open": open, "closed": closed, "choice": choice, "blank": blank, "label": label}
        self.answers = {"choice": choice_answer, "label": label_answer}
        texts = {**self.queries, **{f"{kind}_answer": text for kind, text in self.answers.items()}}
        for option, text in texts.items():
            _check(option, text)

    def query(self, question: Question) -> str:
        """The text that goes with the picture."""
        choices = question.choices or ()
        fields = {"question": question.question, "labels": ", ".join(choices)}
        if question.answer_type == "choice":
            fields |= dict(zip(LETTERS, choices, strict=True))
            fields |= dict(zip(LETTERS.lower(), without_prefix(choices), strict=True))
        # of other types, such as MAU's diagnoses, the question is the whole query
        return self.queries.get(question.answer_type, "{question}").format_map(fields)

    def candidates(self, question: Question) -> dict[str, str]:
        """Label -> the answer text whose likelihood stands for it; empty where nothing is to choose from."""
        choices = question.choices or ()
        if question.answer_type == "choice":
            texts = zip(LETTERS, without_prefix(choices), strict=True)
            return {letter: self.answers["choice"].format(letter=letter, text=text) for letter, text in texts}
        if question.answer_type == "label":
            return {label: self.answers["label"].format(label=label) for label in choices}
        return {}


def _check(option: str, text: str) -> None:
    known = _FIELDS[option]
    try:
        used = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise InputError(f"data.protocol.{option}: {error} in {text!r}: write a brace that is meant as {{{{") from None
    if unknown := used - known:
        fields = ", ".join(f"{{{name}}}" for name in sorted(known))
        raise InputError(f"data.protocol.{option} has {{{min(unknown)}}}: it may have {fields}")
