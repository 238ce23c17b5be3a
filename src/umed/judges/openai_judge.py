"""`OpenAIJudge`: a language model behind any OpenAI-compatible endpoint as the judge."""

import asyncio
import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, TypeVar

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from tqdm import tqdm

from umed.errors import InputError
from umed.judges.base import JudgeItem, Verdict
from umed.llm.endpoint import Endpoint, Text, check_settings
from umed.llm.failures import Fault, NoAnswer
from umed.llm.journal import Store
from umed.llm.limits import for_each
from umed.llm.request import APIS, Message, build_body, read_reply
from umed.llm.verdict import NoVerdict, find_objects, read_verdict

log = logging.getLogger(__name__)
T = TypeVar("T")

UNHEARD = 90.0  # seconds of patience, or two time-outs, while the endpoint has never answered
IN_VAIN = 3  # calls in a row without one verdict that end the run
_TABLE = "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, score REAL NOT NULL, reason TEXT)"
_PLACEHOLDER = re.compile(r"\{(query|gold|answer)\}")
_SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["reason", "score"],
    "additionalProperties": False,
}


class VerdictCache(Store):
    """A sqlite file of verdicts that several processes may share; failures are not stored."""

    def __init__(self, path: Path, setting: str) -> None:
        super().__init__(path, _TABLE, setting, busy=60)

    def get(self, key: str) -> Verdict | None:
        rows = self.execute("SELECT score, reason FROM verdicts WHERE key = ?", key)
        return Verdict(*rows[0]) if rows else None

    def put(self, key: str, verdict: Verdict) -> Verdict:
        """Store and commit; one that is there already, of another process, stays and is what all of them go by."""
        self.execute("INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?)", key, verdict.score, verdict.reason)
        return self.get(key) or verdict


class OpenAIJudge:
    """Asks a language model how well the answer agrees with the gold diagnosis (reading R14).

    A request that fails after all its tries, or a reply without a verdict (see `read_score`), gives a failed verdict
    with a reason, which is not a score. Verdicts are stored in the sqlite file `cache` by prompt, model, query, gold
    and answer, and are not asked for again. Raises InputError: no key in the environment; wrong settings; every request
    of a call was refused (401, 403, 404, no quota); every request of a call failed and the endpoint has never answered;
    or `IN_VAIN` calls in a row brought no verdict.

    Args:
        prompt: `system` and `user` text; {query}, {gold} and {answer} are filled in.
        concurrency: requests under way at once.
        max_retries: of a request, after a time-out, a lost connection, 408, 409, 429 or 5xx; see `Endpoint`.
        timeout: seconds for one try.
        patience: seconds after which no further try of a request begins; at most `UNHEARD` or two time-outs until the
            endpoint has answered once.
        request: further fields of the request, `temperature` for one; null = not sent.
    """

    owner = "judge"  # the config group that holds the settings, for messages
    waits = True
    title = ""  # of a progress bar; empty = none
    schema: Mapping[str, Any] = _SCHEMA  # of a reply

    @check_settings("judge")
    def __init__(
        self,
        model: Text,
        *,
        prompt: Mapping[str, str],
        cache: Text | Path,
        base_url: str | None = None,
        concurrency: PositiveInt = 8,
        max_retries: NonNegativeInt = 5,
        timeout: PositiveFloat = 30.0,
        patience: PositiveFloat = 300.0,
        request: Mapping[str, Any] | None = None,
    ) -> None:
        missing = {"query", "gold", "answer"} - set(_PLACEHOLDER.findall(prompt["system"] + prompt["user"]))
        if missing:
            raise InputError(
                f"{self.owner}.prompt has no place for {', '.join(sorted(missing))}: write the name in braces"
            )
        self.model, self.system, self.user, self.cache = model, prompt["system"], prompt["user"], Path(cache)
        self.prompt_hash = hashlib.sha256(json.dumps([self.system, self.user]).encode()).hexdigest()
        self._concurrency, self._request = concurrency, dict(request or {})
        self._patience, self._first_patience = patience, min(patience, max(UNHEARD, 2 * timeout))
        self._endpoint = Endpoint(
            self.owner, base_url, tries=max_retries + 1, timeout=timeout, patience=patience, unlimited=frozenset()
        )
        self._has_answered = False
        self._in_vain = 0  # calls in a row without one verdict
        self._endpoint.check_key()  # a missing key is reported before the run starts

    def __call__(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        keys = [self._hash(item) for item in items]
        verdicts = _run_in_thread(self._judge(dict(zip(keys, items, strict=True))))
        failed = Counter(verdicts[key].reason for key in keys if verdicts[key].score is None)
        if failed:
            reasons = "; ".join(f"{n}x {reason}" for reason, n in failed.most_common(3))
            log.warning("%s: %d of %d answers not judged (%s)", self.owner, failed.total(), len(keys), reasons)
        return [verdicts[key] for key in keys]

    def _hash(self, item: JudgeItem) -> str:
        text = json.dumps([self.prompt_hash, self.model, item.query, item.gold, item.answer])
        return hashlib.sha256(text.encode()).hexdigest()

    async def _judge(self, items: dict[str, JudgeItem]) -> dict[str, Verdict]:
        """Verdicts by key: from the cache, or asked for."""
        verdicts: dict[str, Verdict] = {}
        failures: dict[str, NoAnswer | None] = {}  # of the verdicts that were asked for

        async def judge(key: str) -> None:
            if len(failures) >= self._concurrency and all(map(self._is_down, failures.values())):
                first = next(iter(failures))  # what all of so many requests met is not met again by each of the others
                verdicts[key], failures[key] = verdicts[first], failures[first]
                return
            verdict, failure = await self._ask(items[key])
            verdicts[key], failures[key] = verdict, failure
            bar.update()
            if verdict.score is not None:
                verdicts[key] = cache.put(key, verdict)

        with VerdictCache(self.cache, f"{self.owner}.cache") as cache:
            for key, item in items.items():
                known = cache.get(key) if item.gold.strip() else Verdict(None, "no gold diagnosis")
                if known:
                    verdicts[key] = known
            keys = [key for key in items if key not in verdicts]
            first = 0 if self._has_answered else self._concurrency  # one group finds out whether it answers at all
            if keys:
                hidden = None if self.title else True  # None: where no terminal is
                with tqdm(total=len(keys), desc=self.title, unit="answer", leave=False, disable=hidden) as bar:
                    async with self._endpoint:
                        for group in (keys[:first], keys[first:]):
                            await for_each(group, self._concurrency, judge)
                self._check(verdicts, failures)
        return verdicts

    def _is_down(self, failure: NoAnswer | None) -> bool:
        """Whether the endpoint, rather than the answer that was to be judged, is to blame for a failure."""
        if failure is None or not self._has_answered:
            return failure is not None
        return failure.fault in (Fault.REFUSED, Fault.SILENT)

    def _check(self, verdicts: Mapping[str, Verdict], failures: Mapping[str, NoAnswer | None]) -> None:
        """Raise InputError where going on makes no sense."""
        self._in_vain = 0 if any(v.score is not None for v in verdicts.values()) else self._in_vain + 1
        faults = [failure and (failure.fault if self._has_answered else Fault.REFUSED) for failure in failures.values()]
        is_down = all(fault is Fault.REFUSED for fault in faults)
        if not is_down and self._in_vain < IN_VAIN:
            return
        key, failure = next(iter(failures.items()))
        count = f"{len(failures)} answers" if is_down else f"the answers of {self._in_vain} batches in a row"
        raise InputError(
            f"{self.owner}: {self._endpoint.name} judged none of {count} ({verdicts[key].reason}): "
            f"{self._endpoint.advise(failure)}, then start again or go on with resume=RUN_DIR"
        )

    async def _ask(self, item: JudgeItem) -> tuple[Verdict, NoAnswer | None]:
        """The verdict on one answer, and why the request brought no answer."""
        texts = {"query": item.query, "gold": item.gold, "answer": item.answer}
        system, user = (_PLACEHOLDER.sub(lambda m: texts[m[1]], text) for text in (self.system, self.user))
        messages = [Message("system", system), Message("user", user)]
        api = APIS["chat"]

        def body(has_format: bool) -> dict[str, Any]:
            schema = self.schema if has_format else None
            return build_body(api, self.model, messages, request=self._request, schema=schema)

        patience = self._patience if self._has_answered else self._first_patience
        try:
            answer = await self._endpoint.ask(api.path, body, patience=patience)
        except NoAnswer as error:
            return Verdict(None, error.reason), error
        self._has_answered = True
        reply = read_reply(answer)
        return (Verdict(None, reply.problem) if reply.problem else read_score(reply.text, item.answer)), None


def read_score(text: str, answer: str = "") -> Verdict:
    """The verdict in a reply, which `umed.llm.verdict.read_verdict` finds: a number `score` in [0, 1].

    Failed: there is none, `score` is anything else (a boolean, a text such as "80%", a list, NaN, out of range), or the
    `answer` that was to be judged holds the same object, which the reply may only repeat.
    """
    try:
        value = read_verdict(text, "score")
    except NoVerdict as error:
        return Verdict(None, str(error))
    score = value["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        return Verdict(None, "a score that is no number from 0 to 1")
    if value in find_objects(answer):
        return Verdict(None, "a verdict that stands in the answer")
    return Verdict(float(score), str(value.get("reason", "")))


def _run_in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in an event loop of its own, and in a thread where the caller may be inside another loop.

    A thread of another kind than the main one has none: it is not given a second one, which the process would wait for
    at its end.
    """
    if current_thread() is not main_thread():
        return asyncio.run(work)
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)
    try:
        with ThreadPoolExecutor(1) as pool:
            result = pool.submit(loop.run_until_complete, task)
            try:
                return result.result()
            except BaseException:  # an interrupt of the caller ends the requests too
                loop.call_soon_threadsafe(task.cancel)
                raise
    finally:
        loop.close()
