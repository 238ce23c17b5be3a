"""Features are kept within bounds, under keys that name all they depend on."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from umed.chat import Prompt
from umed.errors import InputError
from umed.models import feature_store
from umed.models.feature_store import MB, FeatureStore, TowerKey, picture_key, shared_store
from umed.models.features import PictureFeatures
from umed.models.policy import Policy

LORA = {"r": 4, "lora_alpha": 8}
IMAGE_TOKENS = True
Make = Callable[..., Policy]
Prompts = Callable[..., list[Prompt]]


def features_of(number: float, kilobytes: int = 256) -> PictureFeatures:
    return PictureFeatures(torch.full((kilobytes, 256), float(number)), (), True)


def key_of(pi: Policy) -> TowerKey:
    return TowerKey(pi.core.model, pi.backbone.tower)


def test_the_least_recently_used_are_given_up_first() -> None:
    store = FeatureStore(memory_mb=1)
    for name in "abcd":
        store.put(name, features_of(ord(name)))
    assert store.get("a") is not None
    store.put("e", features_of(5))
    assert [name for name in "abcde" if store.get(name) is not None] == ["a", "c", "d", "e"]
    store.put("large", features_of(6, kilobytes=1025))
    assert store.get("large") is None and store.get("e").tokens[0, 0] == 5


def test_nothing_is_kept_where_the_bounds_are_zero(tmp_path: Path) -> None:
    store = FeatureStore(0, 0, tmp_path / "features")
    store.put("a", features_of(1))
    assert store.get("a") is None and not (tmp_path / "features").exists()


@pytest.mark.parametrize("settings", [(-1, 0), (0, -1), ("much", 0), (0, float("nan"))])
def test_a_bound_that_is_none_is_refused(settings: tuple) -> None:
    with pytest.raises(InputError, match=r"engine\.features\.(memory|disk)_mb="):
        FeatureStore(*settings)


def test_files_outlive_the_memory_and_the_process(tmp_path: Path) -> None:
    FeatureStore(0, 100, tmp_path).put("a" * 32, features_of(1))
    another = FeatureStore(1, 100, tmp_path)
    first = another.get("a" * 32)
    assert first is not None and torch.equal(first.tokens, features_of(1).tokens)
    for file in tmp_path.iterdir():
        file.unlink()
    assert another.get("a" * 32) is first  # now in memory


def test_stages_of_a_process_share_a_store(tmp_path: Path) -> None:
    assert shared_store(1, 0, str(tmp_path)) is shared_store(1, 0, str(tmp_path))
    assert shared_store(1, 0, str(tmp_path)) is not shared_store(2, 0, str(tmp_path))


@pytest.mark.parametrize("exact", [feature_store.EXACT, 0], ids=["whole", "sampled"])
def test_a_tower_is_named_by_its_weights(policy: Make, monkeypatch: pytest.MonkeyPatch, exact: int) -> None:
    """Whatever model it is in, and whatever is trained elsewhere; every weight of it counts."""
    monkeypatch.setattr(feature_store, "EXACT", exact)
    one, two = policy(adapter=LORA), policy(adapter=LORA)
    name, key = key_of(one)(), key_of(two)
    assert key() == name
    with torch.no_grad():
        for n, p in two.core.model.named_parameters():
            if n.split(".")[0] in two.backbone.tower:
                kept = p.clone()
                p.mul_(1.5).add_(0.1)
                assert key() != name, n
                p.copy_(kept)
        assert key() == name
        for p in two.body():
            p.add_(1)
    assert key() == name
    tower = getattr(two.core.model, two.backbone.tower[0])
    tower.to(torch.bfloat16)
    assert key() != name


def test_a_large_tower_is_sampled(policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    read = feature_store.as_bytes
    monkeypatch.setattr(feature_store, "as_bytes", lambda t: hashed.append(t.numel()) or read(t))
    pi = policy(adapter=LORA)
    key_of(pi)()
    whole = sum(hashed)
    hashed.clear()
    monkeypatch.setattr(feature_store, "EXACT", 0)
    monkeypatch.setattr(feature_store, "SAMPLE", 8)
    key_of(pi)()
    has_counters = any(name.endswith("num_batches_tracked") for name in key_of(pi)._tensors())  # whole numbers
    assert len(hashed) == 1 + has_counters and sum(hashed) < whole / 4  # and in one transfer of each dtype


def test_weights_are_hashed_once(policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    key, hashed = key_of(policy(adapter=LORA)), []
    hash_weights = feature_store._hash_weights
    monkeypatch.setattr(feature_store, "_hash_weights", lambda tensors: hashed.append(1) or hash_weights(tensors))
    assert key() == key() and hashed == [1]


def test_the_key_names_precision_and_settings(policy: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pi = policy(adapter=LORA)
    name = key_of(pi)()
    with torch.autocast("cpu", torch.bfloat16):
        assert key_of(pi)() != name
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)  # another order of sums
    assert key_of(pi)() != name
    monkeypatch.undo()
    config = pi.core.model.config
    tower = (config.vision_config, "hidden_size") if hasattr(config, "vision_config") else (config, "vision_width")
    monkeypatch.setattr(*tower, 7)
    assert key_of(pi)() != name
    monkeypatch.undo()
    assert key_of(pi)() == name
    assert key_of(pi.to("meta"))() != name


def test_a_picture_is_named_by_what_the_tower_sees(make_prompts: Prompts) -> None:
    """Every tensor of the picture counts; the query does not."""
    (prompt,) = make_prompts(1)
    name = picture_key("tower", prompt.inputs)
    assert picture_key("tower", make_prompts(1)[0].inputs) == name != picture_key("other", prompt.inputs)
    others = {**prompt.inputs, "input_ids": prompt.inputs["input_ids"][:3]}
    assert picture_key("tower", others) == name
    names = {name}
    for tensor in ("pixel_values", *(n for n in prompt.inputs if n.startswith(("image_", "pixel_attention")))):
        changed = prompt.inputs[tensor].clone()
        changed.view(-1)[-1] += 1
        names.add(picture_key("tower", {**prompt.inputs, tensor: changed}))
    assert len(names) >= 2 + ("image_grid_thw" in prompt.inputs)
    half = {**prompt.inputs, "pixel_values": prompt.inputs["pixel_values"].bfloat16()}
    assert picture_key("tower", half) not in names


def test_the_bound_is_in_mebibytes() -> None:
    assert features_of(1).nbytes == MB // 4
