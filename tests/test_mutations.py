"""The checks can fail: each of these bugs, put back, is found by the check that is named for it."""

import importlib.util
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from umed.models import features, policy, reader
from umed.models.attention import AttentionRecorder
from umed.models.family import FamilyProcessor
from umed.synthetic.parity import CHECKS, TinyModel

Patch = pytest.MonkeyPatch


def visible_padding(patch: Patch, tiny: TinyModel) -> None:
    collate = FamilyProcessor.collate

    def mutated(self, prompts):
        batch = collate(self, prompts)
        return batch | {"attention_mask": torch.ones_like(batch["attention_mask"])}

    patch.setattr(FamilyProcessor, "collate", mutated)


def swapped_pictures(patch: Patch, tiny: TinyModel) -> None:
    collate = FamilyProcessor.collate

    def mutated(self, prompts):
        batch, turned = collate(self, prompts), collate(self, prompts[::-1])
        return batch | {"pixel_values": turned["pixel_values"]}

    patch.setattr(FamilyProcessor, "collate", mutated)
    patch.setattr(reader, "is_frozen", lambda *_: False)  # pictures are looked at each time


def swapped_features(patch: Patch, tiny: TinyModel) -> None:
    concatenate = features.concatenate_features
    patch.setattr(reader, "concatenate_features", lambda each: concatenate(each[::-1]))


def no_token_types(patch: Patch, tiny: TinyModel) -> None:
    positions = tiny.backbone.positions

    def mutated(model, batch):
        return positions(model, batch | {"mm_token_type_ids": torch.zeros_like(batch["mm_token_type_ids"])})

    patch.setattr(tiny.policy.reader, "backbone", replace(tiny.backbone, positions=mutated))


def temperature_not_scored(patch: Patch, tiny: TinyModel) -> None:
    scores = policy.answer_scores
    patch.setattr(policy, "answer_scores", lambda *given: scores(*given[:4], 1.0, *given[5:]))


def dropout_on(patch: Patch, tiny: TinyModel) -> None:
    patch.setattr(policy, "generating", lambda module: nullcontext())


def repeat_for_interleave(patch: Patch, tiny: TinyModel) -> None:
    make_room = reader.make_room

    def mutated(cache, queries, num_candidates, *rest, **options):
        wide = make_room(cache, queries, num_candidates, *rest, **options)
        wide.reorder_cache(torch.arange(queries * num_candidates).view(queries, -1).mT.flatten())
        return wide

    patch.setattr(reader, "make_room", mutated)


def attention_a_row_late(patch: Patch, tiny: TinyModel) -> None:
    class Late(AttentionRecorder):
        def __init__(self, rows, *args):
            super().__init__(rows - (rows > 0).long(), *args)

    patch.setattr(policy, "AttentionRecorder", Late)


MUTATIONS: list[tuple[Callable[[Patch, TinyModel], None], str]] = [
    (visible_padding, "log-probs"),
    (swapped_pictures, "log-probs"),
    (swapped_features, "log-probs"),
    (no_token_types, "log-probs"),
    (temperature_not_scored, "log-probs"),
    (repeat_for_interleave, "log-probs"),
    (dropout_on, "in training"),
    (attention_a_row_late, "attention"),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return TinyModel("qwen2_5_vl", tmp_path_factory.mktemp("mutated"))


@pytest.mark.parametrize(("mutate", "check"), MUTATIONS, ids=[m.__name__ for m, _ in MUTATIONS])
def test_a_bug_put_back_is_found(
    tiny: TinyModel, monkeypatch: Patch, mutate: Callable[[Patch, TinyModel], None], check: str
) -> None:
    function, limit = CHECKS[check]
    for prompt in tiny.prompts:
        prompt.features = None
    for kept in ("answers", "adapted_answers", "outputs"):
        vars(tiny).pop(kept, None)
    with monkeypatch.context() as patch:
        mutate(patch, tiny)
        assert not function(tiny) <= 10 * limit


def module_of(name: str) -> ModuleType:
    path = Path(__file__).parent / "methods" / "credit" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_reward_paid_one_token_late_is_found() -> None:
    credit = module_of("test_gae.py")
    right = credit.paid_at_last
    late = lambda reward, mask: right(reward, mask).roll(1, dims=1)  # noqa: E731
    for name in (
        "test_the_reward_is_paid_at_the_last_valid_token",
        "test_gamma_and_lambda_of_one_make_every_return_the_final_reward",
    ):
        getattr(credit, name)()
        credit.paid_at_last = late
        with pytest.raises(AssertionError):
            getattr(credit, name)()
        credit.paid_at_last = right
