"""`OpenAIJudge`: a language model behind any OpenAI-compatible endpoint as the judge."""

import asyncio
import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai
from openai import AsyncOpenAI

from umed.errors import InputError
from umed.judges.base import JudgeItem, Verdict
from umed.judges.cache import VerdictCache

log = logging.getLogger(__name__)

KEY = "OPENAI_API_KEY"
UNHEARD = 90.0  # seconds that one answer is waited for while the endpoint has never answered
IN_VAIN = 3  # calls in a row without one verdict that end the run
_PLACEHOLDER = re.compile(r"\{(query|gold|answer)\}")
_RESPONSE_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "score": {"type": "number", "minimum": 0, "maximum": 1}},
            "required": ["reason", "score"],
            "additionalProperties": False,
        },
    },
}


class OpenAIJudge:
    """Asks a language model how well the answer agrees with the gold diagnosis (reading R14).

    The client repeats a request up to `max_retries` times after a time-out, a lost connection, 408, 409, 429 or 5xx,
    with exponential back-off and jitter, or as Retry-After says. What fails then is a failed verdict. An answer is
    asked for once: verdicts live in the sqlite file `cache`, keyed by prompt, model, query, gold and answer.

    Args:
        prompt: `system` and `user` text; {query}, {gold} and {answer} are filled in.
        concurrency: requests under way at once.
        timeout: seconds the endpoint may stay silent within one try.
        patience: seconds for one answer with all its tries and waits; until the endpoint has answered once, at most
            `UNHEARD` or two time-outs.
        request: further fields of the request, `temperature` for one.

    Raises:
        InputError: no key in the environment; wrong settings; every request of a call was refused (401, 403, 404, no
            quota); every request of a call failed and the endpoint has never answered; or `IN_VAIN` calls in a row
            brought no verdict. Until then, an endpoint that fails later gives failed verdicts.
    """

    def __init__(
        self,
        model: str,
        *,
        prompt: Mapping[str, str],
        cache: str | Path,
        base_url: str | None = None,
        concurrency: int = 8,
        max_retries: int = 5,
        timeout: float = 30.0,
        patience: float = 300.0,
        request: Mapping[str, Any] | None = None,
    ) -> None:
        missing = {"query", "gold", "answer"} - set(_PLACEHOLDER.findall(prompt["system"] + prompt["user"]))
        if missing:
            raise InputError(f"judge.prompt has no place for {', '.join(sorted(missing))}: write the name in braces")
        if concurrency < 1 or max_retries < 0 or timeout <= 0 or patience <= 0:
            raise InputError("judge: concurrency, timeout and patience must be above 0, max_retries at least 0")
        self.model, self.concurrency, self.max_retries = model, concurrency, max_retries
        self.timeout, self.patience, self.request = timeout, patience, dict(request or {})
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        address = urlsplit(self.base_url or "https://api.openai.com/v1")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise InputError("judge.base_url is no address: write it like http://localhost:8000/v1")
        self.endpoint = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"  # no password in it
        self.system, self.user, self.cache = prompt["system"], prompt["user"], Path(cache)
        self.prompt_hash = hashlib.sha256(json.dumps([self.system, self.user]).encode()).hexdigest()
        self._structured = True  # until the endpoint refuses the response format
        self._has_answered = False
        self._in_vain = 0  # calls in a row without one verdict
        self._key()  # a missing key is told before the run starts

    def __call__(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        keys = [self._hash(item) for item in items]
        verdicts = _in_own_thread(self._judge(dict(zip(keys, items, strict=True))))
        failed = Counter(verdicts[key].reason for key in keys if verdicts[key].score is None)
        if failed:
            told = "; ".join(f"{n}x {reason}" for reason, n in failed.most_common(3))
            log.warning("judge: %d of %d answers not judged (%s)", failed.total(), len(keys), told)
        return [verdicts[key] for key in keys]

    def _hash(self, item: JudgeItem) -> str:
        text = json.dumps([self.prompt_hash, self.model, item.query, item.gold, item.answer])
        return hashlib.sha256(text.encode()).hexdigest()

    def _key(self) -> str:
        """Read at need and never kept, so that nothing that shows or stores the judge can hold it."""
        key = os.environ.get(KEY, "").strip()
        if not key and not self.base_url:
            raise InputError(f"judge: no key for {self.endpoint}: set the environment variable {KEY}")
        if not re.fullmatch(r"[!-~]*", key):
            raise InputError(f"judge: the environment variable {KEY} holds a character that no key has: set it anew")
        return key

    async def _judge(self, items: dict[str, JudgeItem]) -> dict[str, Verdict]:
        """Verdicts by key: from the cache, or asked for."""
        verdicts: dict[str, Verdict] = {}
        with VerdictCache(self.cache) as cache:
            for key, item in items.items():
                found = cache.get(key) if item.gold.strip() else Verdict(None, "no gold diagnosis")
                if found:
                    verdicts[key] = found
            asked = await self._ask_all({k: item for k, item in items.items() if k not in verdicts}, cache)
        verdicts |= {key: verdict for key, (verdict, _) in asked.items()}
        if not asked:
            return verdicts
        self._in_vain = 0 if any(v.score is not None for v in verdicts.values()) else self._in_vain + 1
        is_down = all(blame == "refused" if self._has_answered else blame for _, blame in asked.values())
        if is_down or self._in_vain >= IN_VAIN:
            count = f"{len(asked)} answers" if is_down else f"the answers of {self._in_vain} batches in a row"
            reason = next(iter(asked.values()))[0].reason
            raise InputError(
                f"judge: {self.endpoint} judged none of {count} ({reason}): see that it is up and not overloaded, "
                f"check judge.base_url, judge.model and {KEY}, then start again or go on with resume=RUN_DIR"
            )
        return verdicts

    async def _ask_all(self, items: dict[str, JudgeItem], cache: VerdictCache) -> dict[str, tuple[Verdict, str]]:
        """Verdicts, each stored as it arrives, and the blame of each that did not get through.

        Where as many requests as are under way at once all find the endpoint down, the others are not made.
        """
        gate = asyncio.Semaphore(self.concurrency)
        asked: dict[str, tuple[Verdict, str]] = {}

        async def ask(client: AsyncOpenAI, key: str) -> None:
            async with gate:
                known = self._has_answered  # then it may be failing on these answers alone
                down = (blame in ("refused", "unreachable") if known else blame for _, blame in asked.values())
                if len(asked) >= self.concurrency and all(down):
                    asked[key] = next(iter(asked.values()))
                    return
                verdict, _ = asked[key] = await self._ask(client, items[key])
                if verdict.score is not None:
                    cache.put(key, verdict)

        if not items:
            return asked
        silence = httpx2.Timeout(self.timeout, connect=min(5.0, self.timeout))
        async with AsyncOpenAI(
            api_key=self._key() or "none", base_url=self.base_url, max_retries=self.max_retries, timeout=silence
        ) as client:
            first = 0 if self._has_answered else self.concurrency  # one group finds out whether it answers at all
            for group in (list(items)[:first], list(items)[first:]):
                tasks = [asyncio.create_task(ask(client, key)) for key in group]
                try:
                    await asyncio.gather(*tasks)
                finally:
                    for task in tasks:
                        task.cancel()
        return asked

    async def _ask(self, client: AsyncOpenAI, item: JudgeItem) -> tuple[Verdict, str]:
        """One answer's verdict, and who is to blame if the request did not get through."""
        patience = self.patience if self._has_answered else min(self.patience, max(UNHEARD, 2 * self.timeout))
        try:
            async with asyncio.timeout(patience):
                reply = await self._complete(client, item)
        except TimeoutError:
            return Verdict(None, f"no verdict within {patience:g} s"), "unreachable"
        except openai.APIStatusError as error:
            return Verdict(None, self._told(error)), _blame(error)
        except openai.APIConnectionError as error:
            silent = isinstance(error, openai.APITimeoutError)
            return Verdict(None, "time-out" if silent else "no connection"), _blame(error)
        except (openai.APIResponseValidationError, json.JSONDecodeError):
            return Verdict(None, "a reply that is no chat completion"), ""
        self._has_answered = True
        try:  # the client checks nothing: a page that is no JSON arrives as a plain string
            content = reply.choices[0].message.content
        except (AttributeError, IndexError, TypeError):
            return Verdict(None, "a reply that is no chat completion"), ""
        return read_verdict(content if isinstance(content, str) else ""), ""

    async def _complete(self, client: AsyncOpenAI, item: JudgeItem) -> Any:
        texts = {"query": item.query, "gold": item.gold, "answer": item.answer}
        system, user = (_PLACEHOLDER.sub(lambda m: texts[m[1]], text) for text in (self.system, self.user))
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        fields: dict[str, Any] = {**self.request, "model": self.model, "messages": messages}
        structured: dict[str, Any] = {"response_format": _RESPONSE_FORMAT} if self._structured else {}
        try:
            return await client.chat.completions.create(**fields, **structured)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if not structured:
                raise
            reply = await client.chat.completions.create(**fields)
            self._structured = False  # it was the format: some servers know none
            return reply

    def _told(self, error: openai.APIStatusError) -> str:
        """The status; the server's words only where they help and cannot quote a part of the key (401 does)."""
        if error.status_code not in (400, 404, 422):
            return f"status {error.status_code}"
        words = " ".join(error.message.split())
        return f"status {error.status_code}: {words.replace(self._key() or KEY, KEY)[:200]}"


def _blame(error: openai.APIError) -> str:
    refused = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)
    if isinstance(error, refused) or error.code == "insufficient_quota":
        return "refused"
    return "unreachable" if isinstance(error, openai.APIConnectionError) else "failing"


def read_verdict(reply: str) -> Verdict:
    """The verdict in a model's reply: the one JSON object with a number `score` in [0, 1]; anything else failed."""
    found, at = [], reply.find("{")
    while at >= 0:
        try:
            value, end = json.JSONDecoder().raw_decode(reply, at)
        except (json.JSONDecodeError, RecursionError):
            end = at + 1
        else:
            found += [value] if "score" in value else []
        at = reply.find("{", end)
    if len(found) != 1:
        return Verdict(None, "no verdict in the reply" if not found else "several verdicts in the reply")
    score = found[0]["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        return Verdict(None, "a score that is no number from 0 to 1")
    return Verdict(float(score), str(found[0].get("reason", "")))


def _in_own_thread(work: Coroutine[Any, Any, dict[str, Verdict]]) -> dict[str, Verdict]:
    """Run to the end in a private thread: the caller may be inside an event loop of its own."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)
    try:
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(loop.run_until_complete, task)
            try:
                return done.result()
            except BaseException:  # an interrupt of the caller ends the requests too
                loop.call_soon_threadsafe(task.cancel)
                raise
    finally:
        loop.close()
