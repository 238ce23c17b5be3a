"""`PictureEncoder`: the features of a batch's pictures, from a store or from the frozen tower, many in one call."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from umed.chat import Prompt
from umed.models.batch import picture_inputs
from umed.models.contexts import generating
from umed.models.feature_store import FeatureStore, TowerKey, picture_key
from umed.models.features import (
    PictureFeatures,
    can_share_calls,
    compute_features,
    copy_to_cpu,
    group_pictures,
    repeats,
    split_features,
)


class PictureEncoder:
    """Gives each prompt the features of its picture, and keeps them there for all passes over the batch.

    Args:
        core: a model with `get_image_features`.
        tower: names of what lies between pixels and image tokens, which is not trained while this is used.
        collate: batches prompts, on the model's device.
        store: keeps features beyond the batch, None = nothing does.
    """

    def __init__(
        self,
        core: Any,
        tower: Sequence[str],
        collate: Callable[[Sequence[Prompt]], dict[str, Tensor]],
        store: FeatureStore | None,
    ) -> None:
        self._core, self._tower, self._collate, self._store = core, tower, collate, store
        self._key: TowerKey | None = None

    def __call__(self, prompts: Sequence[Prompt]) -> list[PictureFeatures]:
        """The features of each prompt's picture, on the model's device."""
        if self._key is None:
            self._key = TowerKey(self._core.model, self._tower)
        tower = self._key()
        missing = {id(p): p for p in prompts if p.features is None or p.features[0] != tower}.values()
        if missing:
            self._find(list(missing), tower)
        return [p.features[1] for p in prompts]

    def _find(self, prompts: Sequence[Prompt], tower: str) -> None:
        device = next(self._core.parameters()).device
        store = None if device.type == "meta" else self._store
        keys = [picture_key(tower, p.inputs) for p in prompts]
        one_each = dict(zip(keys, prompts, strict=True))
        found = {key: store.get(key) if store else None for key in one_each}
        new = [key for key, features in found.items() if features is None]
        if new:
            together = can_share_calls(self._core.model, self._tower, device)
            groups = group_pictures([one_each[key] for key in new], together)
            each = [features for group in groups for features in self._encode(group)]
            found |= dict(zip(new, each, strict=True))
            if store:
                for key, copy in zip(new, copy_to_cpu(each), strict=True):
                    store.put(key, copy)
        for key, prompt in zip(keys, prompts, strict=True):
            features = found[key]
            assert features is not None
            prompt.features = (tower, features.replaced([t.to(device) for t in features.tensors]))

    def _encode(self, prompts: Sequence[Prompt]) -> list[PictureFeatures]:
        repeated = list(prompts) * repeats(prompts)
        with generating(self._core):
            features = compute_features(self._core.model, picture_inputs(self._collate(repeated)))
        return split_features(features, repeated)[: len(prompts)]
