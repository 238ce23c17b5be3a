"""`Endpoint`: requests to an OpenAI-compatible endpoint, paced, and repeated where that helps."""

import asyncio
import json
import os
import random
import re
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2
import openai
from aiolimiter import AsyncLimiter
from openai import AsyncOpenAI

from umed.errors import InputError

KEY = "OPENAI_API_KEY"
LONGEST = 60.0  # seconds between two tries where the endpoint does not say
REPEATED = frozenset([408, 409, 429])  # and 5xx
FULL = frozenset([429, 503])  # come back later: no fault of the request, so they end by `patience` alone
SECRET = 16  # characters; a shorter key (`local`, `test`) is a word, not a secret
_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # a JSON string, be it cut off
T = TypeVar("T")


class NoAnswer(Exception):
    """A request that brought no answer; `is_outage`: the endpoint is to blame, not this request."""

    def __init__(self, reason: str, *, is_refusal: bool = False, is_outage: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.is_refusal, self.is_outage = reason, is_refusal, is_outage or is_refusal


class Endpoint:
    """The address, the key from the environment, and the patience.

    A try counts against the limits whether it succeeds or not. 408, 409, 429, 5xx, time-outs and lost connections are
    tried again: after the time the endpoint asks for, else after `backoff` seconds, doubled each time, with jitter.

    Args:
        tries: of a request, the first among them; 429 and 503 do not count.
        timeout: seconds for one try.
        patience: seconds for all tries of a request and the waits between them.
        requests_per_minute, tokens_per_minute: None = no limit.

    Raises:
        InputError: no address, or numbers that make no sense.
    """

    def __init__(
        self,
        base_url: str | None,
        *,
        tries: int,
        backoff: float,
        timeout: float,
        patience: float,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
    ) -> None:
        self._base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        told = self._base_url or "https://api.openai.com/v1"
        try:
            address = urlsplit(told)
            has_host = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        except ValueError:
            has_host = False
        if not has_host or not re.fullmatch(r"[!-~]*", told):
            raise InputError("annotator.base_url is no address: write it like http://localhost:8000/v1")
        self.name = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"  # no password in it
        for option, value in {
            "tries": tries, "backoff": backoff, "timeout": timeout, "patience": patience,
            "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute,
        }.items():  # fmt: skip
            if value is not None and not value > 0:
                raise InputError(f"annotator.{option}={value}: a number above 0 is expected")
        self._tries, self._backoff, self._timeout, self._patience = tries, backoff, timeout, patience
        self._paces = [_Pace(per_minute) for per_minute in (requests_per_minute, tokens_per_minute)]
        self.takes_format = True  # until it refuses the response format
        self._opened: AsyncOpenAI | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def ask(self, path: str, body: Callable[[bool], dict[str, Any]], key: str, tokens: int) -> str:
        """The body of the answer; `body(True)` is the request with a response format, `body(False)` without.

        Raises:
            NoAnswer: refused, or no try brought an answer.
        """

        async def post(with_format: bool) -> str:
            headers = {"Idempotency-Key": key if with_format else f"{key}-free"}  # another body is another request
            request = body(with_format)
            response = await self.call(
                lambda client: client.post(path, cast_to=httpx2.Response, body=request, options={"headers": headers}),
                tokens,
            )
            return self.without_key(response.text)

        if self.takes_format:
            try:
                return await post(True)
            except NoAnswer as error:
                if not isinstance(error.__cause__, openai.BadRequestError | openai.UnprocessableEntityError):
                    raise
            answer = await post(False)
            self.takes_format = False  # it was the format: some servers know none
            return answer
        return await post(False)

    async def call(
        self, request: Callable[[AsyncOpenAI], Awaitable[T]], tokens: int = 0, timeout: float | None = None
    ) -> T:
        """What a request returns, after as many tries as it takes; `timeout`: seconds for one try, where not the usual.

        Raises:
            NoAnswer: refused, or no try succeeded.
        """
        client, end = self._client(), time.monotonic() + self._patience
        number = failures = 0
        while True:
            for pace, amount in zip(self._paces, (1, tokens), strict=True):
                await pace.wait(amount)
            wait, is_full = None, False
            try:
                async with asyncio.timeout(timeout or self._timeout):
                    result = await request(client)
                if not isinstance(result, httpx2.Response) or result.content.strip():
                    return result
                failure = NoAnswer("an empty reply", is_outage=True)
            except openai.APIStatusError as error:
                failure = self._judged(error)
                if failure.is_refusal or not failure.is_outage:
                    raise failure from error
                wait, is_full = retry_after(error.response.headers), error.status_code in FULL
            except (openai.APITimeoutError, TimeoutError):
                failure = NoAnswer("time-out", is_outage=True)
            except openai.APIConnectionError:
                failure = NoAnswer("no connection", is_outage=True)
            except openai.APIError as error:
                failure = NoAnswer(f"a reply that cannot be read ({type(error).__name__})", is_outage=True)
            if wait is None:
                wait = min(self._backoff * 2 ** min(number, 20), LONGEST) * random.uniform(0.5, 1)
            else:
                wait += random.uniform(0, self._backoff / 4)  # not all at the same moment
            number, failures = number + 1, failures + (not is_full)
            if failures == self._tries or time.monotonic() + wait > end:
                raise failure
            await asyncio.sleep(wait)

    def without_key(self, text: str) -> str:
        """A text of the endpoint's without the key, should it quote it, however its JSON strings spell it."""
        key = _key()
        if len(key) < SECRET:
            return text

        def clean(literal: re.Match[str]) -> str:
            try:
                said = json.loads(literal[0], strict=False)
            except ValueError:
                return literal[0]
            told = self.without_key(said)  # a reply in JSON is a string that holds strings
            return literal[0] if told == said else json.dumps(told)

        return re.sub(rf"(?<![\w-]){re.escape(key)}(?![\w-])", KEY, _LITERAL.sub(clean, text), flags=re.ASCII)

    def _client(self) -> AsyncOpenAI:
        """Opened at the first request: what can be replayed needs no key."""
        if self._opened is None:
            key = _key()
            if not key and not self._base_url:
                raise InputError(f"annotator: no key for {self.name}: set the environment variable {KEY}")
            if not re.fullmatch(r"[!-~]*", key):
                raise InputError(
                    f"annotator: the environment variable {KEY} holds a character that no key has: set it anew"
                )
            silence = httpx2.Timeout(self._timeout, connect=min(5.0, self._timeout))
            self._opened = AsyncOpenAI(api_key=key or "none", base_url=self._base_url, max_retries=0, timeout=silence)
        return self._opened

    def _judged(self, error: openai.APIStatusError) -> NoAnswer:
        """The status; the server's words only where they help and cannot quote a part of the key (401 does)."""
        refused = error.status_code in (401, 403, 404) or error.code == "insufficient_quota"
        reason = f"status {error.status_code}"
        if error.code == "insufficient_quota":
            reason += " (insufficient_quota)"
        if error.body and not isinstance(error.body, str) and error.status_code in (400, 404, 413, 422):
            words = " ".join(self.without_key(json.dumps(error.body, ensure_ascii=False)).split())
            reason += f": {words[:200]}"
        is_outage = error.status_code in REPEATED or error.status_code >= 500
        return NoAnswer(reason, is_refusal=refused, is_outage=is_outage)


class _Pace:
    """So many a minute, evenly: a burst of one second's share at most, whatever the size of one request."""

    def __init__(self, per_minute: float | None) -> None:
        self._limiter = AsyncLimiter(per_minute / 60, 1) if per_minute else None
        self._turn = asyncio.Lock()

    async def wait(self, amount: float) -> None:
        if self._limiter is None:
            return
        async with self._turn:  # first come, first served
            while amount > 0:
                part = min(amount, self._limiter.max_rate)
                await self._limiter.acquire(part)
                amount -= part


def retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the endpoint asks to wait, by number or date; None if it does not say."""
    for name, per_second in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name, "")) / per_second
        except ValueError:
            continue
        if 0 <= seconds < 1e9:
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _key() -> str:
    """Read at need and never kept, so that nothing that shows or stores the annotator can hold it."""
    return os.environ.get(KEY, "").strip()
