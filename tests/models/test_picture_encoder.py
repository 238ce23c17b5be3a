"""Which pictures go through the tower in which call, and what is kept of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from umed.chat import Prompt
from umed.models import features, picture_encoder
from umed.models.feature_store import FeatureStore
from umed.models.features import PictureFeatures
from umed.models.picture_encoder import PictureEncoder
from umed.models.policy import Policy

IMAGE_TOKENS = True
LORA = {"r": 4, "lora_alpha": 8}
Make = Callable[..., Policy]
Prompts = Callable[..., list[Prompt]]


def encoder_of(pi: Policy, store: FeatureStore | None = None) -> PictureEncoder:
    return PictureEncoder(pi.core, pi.backbone.tower, pi.reader._batch, store)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The pixel values of each call of the tower."""
    counted, compute = [], picture_encoder.compute_features

    def count(model: Any, inputs: dict[str, torch.Tensor]) -> Any:
        counted.append(inputs["pixel_values"].numel())
        return compute(model, inputs)

    monkeypatch.setattr(picture_encoder, "compute_features", count)
    return counted


def assert_same_bits(one: list[PictureFeatures], two: list[PictureFeatures]) -> None:
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a.is_listed == b.is_listed and len(a.tensors) == len(b.tensors)
        for x, y in zip(a.tensors, b.tensors, strict=True):
            assert x.shape == y.shape and x.dtype == y.dtype and x.device == y.device
            assert torch.equal(x, y)


def test_a_call_holds_as_many_pictures_as_its_bound_lets_in(
    policy: Make, make_prompts: Prompts, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pi = policy(adapter=LORA)
    prompts = make_prompts(5, (140, 112))
    size = prompts[0].inputs["pixel_values"].numel()
    free = encoder_of(pi)(make_prompts(5, (140, 112)))
    calls.clear()
    monkeypatch.setattr(features, "MOST_VALUES", 2 * size)
    assert_same_bits(encoder_of(pi)(prompts), free)
    assert len(calls) == 3 and set(calls[:2]) == {2 * size}
    calls.clear()
    monkeypatch.setattr(features, "MOST_VALUES", 1)
    encoder_of(pi)(make_prompts(2, (300, 300)))
    assert len(calls) == 2


def test_several_threads_encode_a_wide_tower_picture_by_picture(
    policy: Make, make_prompts: Prompts, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pi = policy(adapter=LORA)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    encoder_of(pi)(make_prompts(3))
    assert len(calls) == 1
    monkeypatch.setattr(features, "LONG_SUM", 8)
    encoder_of(pi)(make_prompts(3))
    assert len(calls) == 4


def test_queries_about_one_picture_share_its_features(policy: Make, make_prompts: Prompts, calls: list[int]) -> None:
    pi, prompts = policy(adapter=LORA), [make_prompts(1, (140, 112))[0] for _ in range(3)]
    one, two, three = encoder_of(pi)(prompts)
    assert len(calls) == 1 and one.tokens is two.tokens is three.tokens
    assert all(p.features[1].tokens is one.tokens for p in prompts)


def test_what_is_stored_shares_no_memory_with_the_batch(policy: Make, make_prompts: Prompts) -> None:
    pi, store, prompts = policy(adapter=LORA), FeatureStore(), make_prompts(3)
    encoder_of(pi, store)(prompts)
    for kept in store._memory.values():
        assert all(t.untyped_storage().nbytes() == t.nbytes for t in kept.tensors)


def test_other_precision_is_another_key(policy: Make, make_prompts: Prompts, calls: list[int]) -> None:
    """Under autocast the tower computes in 16 bits: its features are neither given to fp32 passes nor taken from."""
    pi, store = policy(adapter=LORA), FeatureStore()
    plain = encoder_of(pi, store)(make_prompts(2))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder_of(pi, store)(make_prompts(2))
        again = encoder_of(pi, store)(make_prompts(2))
    assert len(calls) == 2 and not torch.equal(plain[0].tokens.float(), rounded[0].tokens.float())
    assert_same_bits(rounded, again)
    narrow = policy(adapter=LORA, dtype="bfloat16")
    one = encoder_of(narrow, store)(make_prompts(2))
    two = encoder_of(narrow, store)(make_prompts(2))
    assert len(calls) == 3 and one[0].tokens.dtype == torch.bfloat16
    assert_same_bits(one, two)


def test_nothing_is_stored_of_the_meta_device(
    policy: Make, make_prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans of memory run there; some towers read their sizes from tensors, so what they give is made up here."""
    pi, store = policy(adapter=LORA), FeatureStore()
    given = features.compute_features(pi.core.model, pi.reader._batch(make_prompts(2, (140, 140))))
    monkeypatch.setattr(picture_encoder, "compute_features", lambda *_: given)
    pi.to("meta")
    each = encoder_of(pi, store)(make_prompts(2, (140, 140)))
    assert {t.device.type for f in each for t in f.tensors} == {"meta"} and not store._memory
