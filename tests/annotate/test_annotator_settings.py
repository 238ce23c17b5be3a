"""Settings of `OpenAIAnnotator` that do not fit, and its shipped prompt."""

import re

import pytest

from umed.errors import InputError


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"api": "completions"}, "annotator.api=completions"), ({"max_cost": 1.0}, "annotator.max_cost=1 needs prices"),
        ({"max_cost": -1, "price": {"input": 1, "output": 1}}, "annotator.max_cost=-1"),
        ({"price": {"input": -1, "output": 1}}, "annotator.price.input=-1"), ({"price": 5}, "annotator.price=5"),
        ({"price": {"input": "abc", "output": 1}}, "annotator.price.input=abc"),
        ({"base_url": "localhost:8000/v1"}, "annotator.base_url is no address"),
        ({"queries": []}, "annotator.queries"), ({"queries": [" "]}, "annotator.queries"),
        ({"tries": 0}, "annotator.tries=0"), ({"concurrency": 2.5}, "annotator.concurrency=2.5"),
        ({"timeout": "abc"}, "annotator.timeout=abc"), ({"patience": None}, "annotator.patience=null"),
        ({"backoff": float("nan")}, "annotator.backoff=nan"), ({"poll_seconds": 0}, "annotator.poll_seconds=0"),
        ({"tokens_per_minute": True}, "annotator.tokens_per_minute=True"), ({"model": None}, "annotator.model=null"),
        ({"requests_per_minute": 0}, "annotator.requests_per_minute=0"), ({"journal": None}, "annotator.journal=null"),
        ({"seed": "x"}, "annotator.seed=x"), ({"dry_run": "maybe"}, "annotator.dry_run=maybe"),
        ({"batch": "yes"}, "annotator.batch=yes"),
        ({"output_tokens": {"expected": 1, "at_most": 0}}, "annotator.output_tokens.at_most=0"),
        ({"image_tokens": {"base": -1, "tile": 0}}, "annotator.image_tokens.base=-1"),
        ({"prompt": {"user": "Look at {category}."}}, "annotator.prompt.user has no place for {region}"),
        ({"prompt": {"reflection": "Order it."}}, "annotator.prompt.reflection has no place for <region>"),
        ({"prompt": {"repair": "Again."}}, "annotator.prompt.repair has no place for {problem}"),
        ({"prompt": {"system": " "}}, "annotator.prompt.system"),
    ],
)  # fmt: skip
def test_wrong_settings_are_one_line(make, settings, changes, told):
    if "prompt" in changes:
        changes = {"prompt": {**settings["prompt"], **changes["prompt"]}}
    with pytest.raises(InputError, match=re.escape(told)) as error:
        make(**changes)
    assert "\n" not in str(error.value)


def test_left_and_right_are_told_apart(settings):
    rule = "Left and right are the patient's in X-ray, CT and MR, and the image's in endoscopy."
    assert rule in settings["prompt"]["system"]
    assert "in the upper zone of the patient's left lung: <region>." in settings["prompt"]["reflection"]
