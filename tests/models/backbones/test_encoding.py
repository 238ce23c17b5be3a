"""Every family: pictures are encoded together, and none of them gets other features for it."""

from collections.abc import Callable

import torch

from umed.chat import Prompt
from umed.models.batch import picture_inputs
from umed.models.feature_store import FeatureStore
from umed.models.features import PictureFeatures, compute_features, split_features
from umed.models.picture_encoder import PictureEncoder
from umed.models.policy import Policy
from umed.synthetic.tiny_models import backbone_of, family_names

FAMILIES = tuple(name for name in family_names() if not backbone_of(name).no_attention)  # whose models have features
SIZES = ((56, 56), (112, 56), (60, 101), (140, 112), (300, 90))
Make = Callable[..., Policy]
Prompts = Callable[..., list[Prompt]]


def test_a_picture_gets_the_same_features_alone_in_company_and_from_the_store(
    policy: Make, make_prompts: Prompts
) -> None:
    pi, store = policy(), FeatureStore()
    model, tower = pi.core.model, getattr(pi.core.model, pi.backbone.tower[0])
    passes: list[int] = []
    tower.register_forward_hook(lambda *_: passes.append(1))

    def encode(prompts: list[Prompt], store: FeatureStore | None = None) -> list[PictureFeatures]:
        return PictureEncoder(pi.core, pi.backbone.tower, pi.reader._batch, store)(prompts)

    alone = [encode([p])[0] for p in make_prompts(5, *SIZES)]
    assert len(passes) == 5
    together = encode(make_prompts(5, *SIZES), store)
    assert len(passes) == 6
    kept = encode(make_prompts(5, *SIZES)[::-1], store)[::-1]
    assert len(passes) == 6
    plain = [split_features(compute_features(model, picture_inputs(p.inputs)), [p])[0] for p in make_prompts(5, *SIZES)]
    for one in zip(together, alone, kept, plain, strict=True):
        for same, by_itself, stored, fresh in zip(*(f.tensors for f in one), strict=True):
            assert torch.equal(same, by_itself) and torch.equal(same, stored)
            assert (same - fresh).abs().max() <= 2e-5 * fresh.abs().max()  # few rows: other rounding
    assert together[0].is_listed == kept[0].is_listed
