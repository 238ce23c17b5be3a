"""What an endpoint refuses: the response format, which is then left out, or a setting, which is named."""

from typing import Any

import pytest
from asking import FINE, Make, ask, fail, replies
from served import json_response
from werkzeug import Response

from umed.llm.failures import Fault


@pytest.mark.parametrize("status", [400, 404, 422, 500, 501])
def test_a_server_without_response_formats_is_asked_without(make: Make, serve: Any, status: int) -> None:
    came = serve(lambda body: Response("no", status) if "response_format" in body else FINE)
    endpoint = make(tries=1)
    assert ask(endpoint) and ask(endpoint)
    assert ["response_format" in body for body in came] == [True, False, False]
    assert [body["headers"]["Idempotency-Key"] for body in came] == ["k", "k-free", "k-free"], "another body"


def test_a_refusal_of_both_forms_leaves_the_format_on(make: Make, serve: Any) -> None:
    came, endpoint = serve(replies(Response("", 400), Response("", 422), FINE, Response("", 500))), make(tries=2)
    assert fail(endpoint).reason == "status 422" and endpoint.takes_format
    assert ask(endpoint)
    assert fail(endpoint).status == 500
    assert ["response_format" in body for body in came] == [True, False, True, True, True], "taken once: 500 is a fault"


@pytest.mark.parametrize(
    ("statuses", "formats", "is_answered"),
    [
        ([500, 500, 200], [True] * 3, True),  # tried again as usual
        ([500, 500, 500, 500, 200], [True, True, True, False], False),  # not taken for a refusal while it lasts
        ([200, 500, 500, 500, 500], [True] * 4, False),
    ],
)
def test_an_outage_is_no_refusal_of_the_format(
    make: Make, serve: Any, statuses: list[int], formats: list[bool], is_answered: bool
) -> None:
    came, endpoint = serve(replies(*(FINE if status == 200 else Response("", status) for status in statuses))), make()
    if statuses[0] == 200:
        ask(endpoint)
        came.clear()
        formats = formats[1:]
    assert bool(ask(endpoint)) if is_answered else fail(endpoint).status == 500
    assert ["response_format" in body for body in came] == formats and endpoint.takes_format


def test_a_format_that_another_request_was_granted_meanwhile_is_not_given_up(make: Make, serve: Any) -> None:
    endpoint = make(tries=1)

    def reply(body: dict[str, Any]) -> Response:
        endpoint.has_taken_format = "response_format" not in body
        return FINE if endpoint.has_taken_format else Response("", 500)

    serve(reply)
    assert ask(endpoint) and endpoint.takes_format


def test_a_refused_field_is_named(make: Make, serve: Any) -> None:
    serve(replies(json_response({"error": {"message": "no other 'temperature' than its default here"}}, 400)))
    endpoint, setting = make(), "judge.request.temperature"
    error = fail(endpoint, temperature=0)
    assert error.fault is Fault.REQUEST and error.reason.startswith('status 400: {"message"')
    assert endpoint.advise(error) == (
        f"the endpoint refuses temperature: change {setting}, or leave the field out with ++{setting}=null"
    )
