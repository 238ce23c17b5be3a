"""The paper's two turns: a diagnosis of the drawn region, then a reflection that puts it in order.

The state of a conversation is what the journal holds of it: `Dialog.advance` replays that and says what comes next, so
a run that was killed goes on where it was.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from umed.annotate.checks import PARTS, Aliases, Unusable, boxes_in_pixels, make_schema, read_diagnosis, read_parts
from umed.chat import REGION
from umed.errors import InputError
from umed.llm.journal import Answer, Journal
from umed.llm.reply import read_reply
from umed.llm.request import Message
from umed.records import Record

TURNS = (
    ("diagnosis", make_schema("diagnosis"), read_diagnosis),
    ("reflection", make_schema(*PARTS), read_parts),
)
_REQUIRED: dict[str, tuple[str, ...]] = {
    "system": (),
    "user": ("{category}", "{region}"),
    "reflection": (REGION,),
    "repair": ("{problem}",),
}
_PLACEHOLDER = re.compile(r"\{(category|modality|region|width|height|problem)\}")
_USABLE, _REPEATED = 16, 4  # characters for each token of a reply's limit: still read; repeated in a repair
_SILENCE = "(no answer)"  # some endpoints refuse an empty turn


@dataclass(frozen=True, slots=True)
class NextTurn:
    """A request that comes next, the same in every run that gets here; `key` names it in the journal."""

    key: str
    turn: str
    record: Record
    messages: tuple[Message, ...]
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The end of a conversation: the diagnosis, or None and the `problem`."""

    diagnosis: str | None
    problem: str
    answers: tuple[Answer, ...]


class Dialog:
    """The prompts, and what makes one request differ from another.

    Args:
        prompt: the texts `system`, `user`, `reflection` and `repair`.
        settings: what changes an answer besides the prompts: model, api, `at_most` (tokens of a reply), further fields
            of the request.
        aliases: a category's other names.

    Raises:
        InputError: a prompt is missing or lacks a placeholder.
    """

    def __init__(self, prompt: Mapping[str, str], settings: Mapping[str, Any], aliases: Aliases) -> None:
        for name, places in _REQUIRED.items():
            text = prompt.get(name, "")
            if not text.strip():
                raise InputError(f"annotator.prompt.{name} is no text: write one")
            missing = [place for place in places if place not in text]
            if missing:
                raise InputError(f"annotator.prompt.{name} has no place for {', '.join(missing)}: write it there")
        self.prompt, self.aliases = {name: prompt[name] for name in _REQUIRED}, aliases
        self.prompt_sha256 = hashlib.sha256(json.dumps(self.prompt, sort_keys=True).encode()).hexdigest()
        self._at_most = int(settings["at_most"])
        self._settings = json.dumps(settings, sort_keys=True)

    def advance(self, record: Record, picture_hash: str, journal: Journal) -> NextTurn | Conclusion:
        """What comes next in the conversation about a record."""
        messages, answers, diagnosis, reason = self.opening(record), [], "", ""
        for turn, schema, read in TURNS:
            if turn == "reflection":
                messages = (*messages, self._message("reflection", record))
            for name in (turn, f"{turn} repair"):
                key = self._key(record, picture_hash, name)
                answer = journal.get(key)
                if answer is None:
                    return NextTurn(key, name, record, messages, schema)
                answers.append(answer)
                text = read_reply(answer.body).text
                reply = text if text.strip() else _SILENCE
                try:
                    if len(text) > _USABLE * self._at_most:
                        raise Unusable("too long", "the reply is far too long")
                    diagnosis = read(text, record, self.aliases)
                    messages = (*messages, Message("assistant", reply))
                    break
                except Unusable as problem:
                    reason, excerpt = problem.reason, Message("assistant", reply[: _REPEATED * self._at_most])
                    messages = (*messages, excerpt, self._message("repair", record, problem.message))
            else:
                return Conclusion(None, f"{turn}: {reason}", tuple(answers))
        return Conclusion(diagnosis, "", tuple(answers))

    def opening(self, record: Record) -> tuple[Message, ...]:
        """The messages of the first request."""
        return self._message("system", record), self._message("user", record, has_picture=True)

    def _message(self, name: str, record: Record, problem: str = "", *, has_picture: bool = False) -> Message:
        texts = {
            "category": record.category,
            "modality": record.modality or "medical",
            "region": json.dumps(boxes_in_pixels(record)),
            "width": str(record.width),
            "height": str(record.height),
            "problem": problem,
        }
        text = _PLACEHOLDER.sub(lambda m: texts[m[1]], self.prompt[name])
        return Message("system" if name == "system" else "user", text, has_picture)

    def _key(self, record: Record, picture_hash: str, turn: str) -> str:
        identity = (
            self.prompt_sha256, self._settings, record.id, picture_hash, boxes_in_pixels(record), record.category,
            record.modality, turn,
        )  # fmt: skip
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()
