"""`Endpoint`: requests to an OpenAI-compatible endpoint, within its limits and repeated where that helps."""

import asyncio
import logging
import os
import random
import re
from asyncio import sleep
from collections.abc import Awaitable, Callable
from functools import wraps
from time import monotonic
from typing import Annotated, Any, ParamSpec, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

import httpx2
import openai
from openai import AsyncOpenAI
from pydantic import ConfigDict, Field, ValidationError, validate_call

from umed.errors import InputError
from umed.llm.failures import KEY, Fault, NoAnswer, find_field, read_failure, read_key, without_key
from umed.llm.limits import Pace, read_retry_after

LONGEST_WAIT = 60.0  # seconds between two tries where the endpoint does not say
BUSY = frozenset([429, 503])
NO_FORMAT = frozenset([400, 404, 422, 500, 501])  # what servers answer that know no response format
P = ParamSpec("P")
T = TypeVar("T")
Text = Annotated[str, Field(pattern=r"\S")]


def check_settings(owner: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Decorate `__init__`: the first argument that does not fit is an InputError that names the setting of `owner`.

    The class may have an `owner` of its own.
    """

    def decorate(init: Callable[P, None]) -> Callable[P, None]:
        checked = validate_call(config=ConfigDict(strict=True, allow_inf_nan=False))(init)

        @wraps(init)
        def call(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                checked(*args, **kwargs)
            except ValidationError as error:
                raise InputError(_describe(getattr(args[0], "owner", owner), error.errors()[0])) from None

        return call

    return decorate


def _describe(owner: str, error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"] if str(part).isidentifier())  # without the parts of a union
    value = "" if error["type"].startswith("missing") else f"={'null' if error['input'] is None else error['input']}"
    return f"{owner}.{name}{value}: {error['msg'][0].lower()}{error['msg'][1:]}"


class Endpoint:
    """The address of an endpoint and how long it is waited for; `async with` it to send requests.

    A try counts against the limits whether it succeeds or not. 408, 409, 429, 5xx, time-outs and lost connections are
    tried again after the time that the endpoint asks for, else after `backoff` seconds, doubled each time, with jitter.
    Raises InputError: `base_url` is no address.

    Args:
        owner: the config group that holds the settings, for messages.
        base_url: None = the environment variable OPENAI_BASE_URL, else OpenAI. A query is sent behind each path.
        tries: of a request, the first one included.
        unlimited: statuses that are tried again until `patience` ends, however many tries that takes.
        timeout: seconds for one try.
        patience: seconds after which no further try of a request begins.
        requests_per_minute, tokens_per_minute: None = no limit.
    """

    def __init__(
        self,
        owner: str,
        base_url: str | None,
        *,
        tries: int,
        timeout: float,
        patience: float,
        backoff: float = 0.5,
        unlimited: frozenset[int] = BUSY,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        given = base_url or os.environ.get("OPENAI_BASE_URL")
        url = given or "https://api.openai.com/v1"
        try:
            address = urlsplit(url)
            has_host = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        except ValueError:
            has_host = False
        if not has_host or not re.fullmatch(r"[!-~]*", url):
            raise InputError(f"{owner}.base_url is no address: write it like http://localhost:8000/v1")
        self.name = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"  # without a secret
        self.owner, self.base_url = owner, address._replace(query="", fragment="").geturl() if given else None
        self._query = dict(parse_qsl(address.query, keep_blank_values=True))
        self._tries, self._backoff, self._timeout, self._patience = tries, backoff, timeout, patience
        self._unlimited, self._limits = unlimited, (requests_per_minute, tokens_per_minute)
        self.takes_format = True  # until it refuses the response format
        self.has_taken_format = False
        self._client: AsyncOpenAI | None = None

    async def __aenter__(self) -> Self:
        self._paces = [Pace(per_minute) for per_minute in self._limits]
        return self

    async def __aexit__(self, *_: object) -> None:
        del self._paces
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def ask(
        self,
        path: str,
        body: Callable[[bool], dict[str, Any]],
        *,
        key: str | None = None,
        tokens: int = 0,
        patience: float | None = None,
    ) -> str:
        """Send a request and return the body of the answer.

        Raises NoAnswer: refused, or no try brought an answer.

        Args:
            body: `body(True)` is the request with a response format, `body(False)` without, for servers that know none.
            key: the same for the same request, so that the endpoint may answer it once; None = not sent.
            tokens: an estimate, for the limit.
            patience: where it is not the usual one.
        """

        async def post(has_format: bool, tries: int | None = None) -> str:
            request, suffix = body(has_format), "" if has_format else "-free"  # another body is another request
            options: Any = {} if key is None else {"headers": {"Idempotency-Key": key + suffix}}
            try:
                response = await self.call(
                    lambda client: client.post(path, cast_to=httpx2.Response, body=request, options=options),
                    tokens=tokens,
                    patience=patience,
                    tries=tries,
                )
            except NoAnswer as error:
                if isinstance(error.__cause__, openai.APIStatusError):
                    error.field = find_field(error.status, error.__cause__.body, request)
                raise
            return without_key(response.text)

        if not self.takes_format:
            return await post(False)
        try:
            answer = await post(True)
        except NoAnswer as error:
            if error.status not in NO_FORMAT or (error.is_outage and self.has_taken_format):
                raise
            is_outage = error.is_outage
        else:
            self.has_taken_format = True
            return answer
        answer = await post(False, tries=1 if is_outage else None)  # an outage that ends meanwhile is no refusal
        self.takes_format = is_outage and self.has_taken_format
        return answer

    async def call(
        self,
        request: Callable[[AsyncOpenAI], Awaitable[T]],
        *,
        tokens: int = 0,
        timeout: float | None = None,
        patience: float | None = None,
        tries: int | None = None,
    ) -> T:
        """What a request returns, after as many tries as it takes. Raises NoAnswer: refused, or no try succeeded."""
        client, end = self._open(), monotonic() + (patience or self._patience)
        tried = counted = 0
        while True:
            for pace, amount in zip(self._paces, (1, tokens), strict=True):
                await pace.wait(amount)
            wait = None
            try:
                async with asyncio.timeout(timeout or self._timeout):
                    result = await request(client)
                if not isinstance(result, httpx2.Response) or result.content.strip():
                    return result
                failure = NoAnswer("an empty reply", Fault.FAILING)
            except openai.APIStatusError as error:
                failure = read_failure(error)
                if failure.fault is not Fault.FAILING:
                    raise failure from error
                failure.__cause__, wait = error, read_retry_after(error.response.headers)
            except (openai.APITimeoutError, TimeoutError):
                failure = NoAnswer("time-out", Fault.SILENT)
            except openai.APIConnectionError:
                failure = NoAnswer("no connection", Fault.SILENT)
            except openai.APIError as error:
                failure = NoAnswer(f"a reply that cannot be read ({type(error).__name__})", Fault.FAILING)
            if wait is None:
                wait = min(self._backoff * 2 ** min(tried, 20), LONGEST_WAIT) * random.uniform(0.5, 1)
            else:
                wait += random.uniform(0, self._backoff / 4)  # not all at the same moment
            tried, counted = tried + 1, counted + (failure.status not in self._unlimited)
            if counted >= (tries or self._tries) or monotonic() + wait > end:
                raise failure
            await sleep(wait)

    def advise(self, error: NoAnswer | None) -> str:
        """What the user can do about requests that bring no answer; None: about answers that cannot be used."""
        if error is None:
            names = ("model", "prompt", "request", "base_url")
            return f"it answers, but not as asked: check {', '.join(f'{self.owner}.{name}' for name in names)}"
        if error.field:
            setting = f"{self.owner}.request.{error.field}"
            return f"the endpoint refuses {error.field}: change {setting}, or leave the field out with ++{setting}=null"
        return f"see that it is up and not overloaded, and check {self.owner}.base_url, {self.owner}.model and {KEY}"

    def check_key(self) -> str:
        """The key from the environment. Raises InputError: there is none and the endpoint is OpenAI, or it is none."""
        key = read_key(self.owner)
        if not key and not self.base_url:
            raise InputError(f"{self.owner}: no key for {self.name}: set the environment variable {KEY}")
        return key

    def _open(self) -> AsyncOpenAI:
        """The client, created at the first request: what can be replayed needs no key."""
        if self._client is None:
            key, connect = self.check_key(), min(5.0, self._timeout)
            logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs addresses, and a query may hold a secret
            silence = httpx2.Timeout(self._timeout, connect=connect)
            self._client = AsyncOpenAI(
                api_key=key or "none",
                base_url=self.base_url,
                default_query=self._query,
                max_retries=0,
                timeout=silence,
            )
        return self._client
