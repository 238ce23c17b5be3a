"""The paper's two turns, a diagnosis and a reflection; the journal holds the state, so a killed run goes on."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from umed.annotate.base import make_random
from umed.annotate.checks import PARTS, Aliases, Unusable, boxes_in_pixels, make_schema, read_diagnosis, read_parts
from umed.annotate.cost import ImageTokens, OutputTokens, count_image_tokens, count_text_tokens
from umed.annotate.sent_picture import sent_size
from umed.chat import REGION
from umed.errors import InputError
from umed.llm.journal import Answer, Journal
from umed.llm.request import APIS, Message, build_body, read_reply
from umed.records import Record

TURNS = (("diagnosis", make_schema("diagnosis"), read_diagnosis), ("reflection", make_schema(*PARTS), read_parts))
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
    """Prompts and requests; arguments: see `OpenAIAnnotator`. Raises InputError: a prompt or placeholder is missing."""

    def __init__(
        self,
        model: str,
        api: str,
        *,
        prompt: Mapping[str, str],
        queries: Sequence[str],
        seed: int,
        output_tokens: OutputTokens,
        image_tokens: ImageTokens,
        request: Mapping[str, Any],
        aliases: Aliases,
    ) -> None:
        for name, places in _REQUIRED.items():
            if name not in prompt:
                raise InputError(f"annotator.prompt.{name} is missing: write one")
            if missing := [place for place in places if place not in prompt[name]]:
                raise InputError(f"annotator.prompt.{name} has no place for {', '.join(missing)}: write it there")
        self.prompt, self.aliases = {name: prompt[name] for name in _REQUIRED}, aliases
        self.prompt_sha256 = hashlib.sha256(json.dumps(self.prompt, sort_keys=True).encode()).hexdigest()
        self.model, self.api, self.path, self.at_most = model, api, APIS[api].path, output_tokens["at_most"]
        self.output_tokens, self._image_tokens, self._request = output_tokens, image_tokens, request
        self._queries, self._seed = queries, seed
        self.fields = frozenset(
            build_body(APIS[api], model, (), request=request, max_tokens=self.at_most)
        )  # that are sent
        # what changes an answer besides the prompts
        settings = {"model": model, "api": api, "at_most": self.at_most, "request": request}
        self._settings = json.dumps(settings, sort_keys=True)

    def body(self, turn: NextTurn, picture: str, has_format: bool) -> dict[str, Any]:
        """The body of a request; `picture` is a data URL."""
        schema, api = turn.schema if has_format else None, APIS[self.api]
        return build_body(
            api, self.model, turn.messages,
            request=self._request, picture=picture, schema=schema, max_tokens=self.at_most,
        )  # fmt: skip

    def count_tokens(self, record: Record, messages: Sequence[Message]) -> int:
        """An estimate of the tokens of a request."""
        pictures = sum(m.has_picture for m in messages)
        sent = count_image_tokens(*sent_size(record.width, record.height, record.boxes), self._image_tokens)
        return sum(count_text_tokens(m.text) for m in messages) + pictures * sent

    def choose_query(self, record: Record) -> str:
        return make_random(record, self._seed).choice(self._queries).replace("{modality}", record.modality)

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
                parsed = read_reply(answer.body)
                text, reply = parsed.text, parsed.text if parsed.text.strip() else _SILENCE
                try:
                    if len(text) > _USABLE * self.at_most:
                        raise Unusable("too long", "the reply is far too long")
                    if parsed.problem:
                        raise Unusable(parsed.problem, f"it is no whole answer ({parsed.problem})")
                    diagnosis = read(text, record, self.aliases)
                    messages = (*messages, Message("assistant", reply))
                    break
                except Unusable as problem:
                    reason, excerpt = problem.reason, Message("assistant", reply[: _REPEATED * self.at_most])
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
