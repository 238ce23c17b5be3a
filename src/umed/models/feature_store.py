"""`FeatureStore`: features of a frozen tower, kept across epochs, stages and runs; in memory, then on disk."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from umed.errors import InputError, check_number
from umed.models.batch import picture_inputs
from umed.models.feature_files import FeatureFiles
from umed.models.features import PictureFeatures, as_bytes, tower_parts

MB = 2**20
EXACT = 64 * MB  # size of a tower up to which all its weights are hashed
SAMPLE = 4096  # values of each weight that are hashed of a larger one


class FeatureStore:
    """Features by key, the least recently used given up first; what comes back has the bits that went in.

    Args:
        memory_mb, disk_mb: MiB at most; 0 or None = nothing is kept there.
        folder: of the files; several processes may share it.

    Raises:
        InputError: a bound that is no number or below 0; a bound for files and no folder.
    """

    def __init__(
        self, memory_mb: float | None = 512, disk_mb: float | None = 0, folder: str | Path | None = "features"
    ) -> None:
        check_number("engine.features.memory_mb", memory_mb, at_least=0)
        check_number("engine.features.disk_mb", disk_mb, at_least=0)
        if disk_mb and folder is None:
            raise InputError("engine.features.folder=null: give a folder, or engine.features.disk_mb=0")
        self._limit, self._size = int((memory_mb or 0) * MB), 0
        self._memory: OrderedDict[str, PictureFeatures] = OrderedDict()
        self._files = FeatureFiles(Path(folder), int(disk_mb * MB)) if disk_mb and folder else None

    def get(self, key: str) -> PictureFeatures | None:
        """The features on the CPU, None = not there."""
        features = self._memory.get(key)
        if features is not None:
            self._memory.move_to_end(key)
        elif self._files is not None and (features := self._files.read(key)) is not None:
            self._remember(key, features)
        return features

    def put(self, key: str, features: PictureFeatures) -> None:
        """Keep features that are not there; they are on the CPU and share no memory with others."""
        self._remember(key, features)
        if self._files is not None:
            self._files.write(key, features)

    def _remember(self, key: str, features: PictureFeatures) -> None:
        if features.nbytes > self._limit:
            return
        self._memory[key] = features
        self._size += features.nbytes
        while self._size > self._limit:
            self._size -= self._memory.popitem(last=False)[1].nbytes


@cache
def shared_store(memory_mb: float | None, disk_mb: float | None, folder: str | None) -> FeatureStore:
    """The store of this process with these settings, the same for every stage."""
    return FeatureStore(memory_mb, disk_mb, folder)


class TowerKey:
    """Names a tower by all that its features depend on: weights, config, precision, device and versions.

    All weights of a tower up to `EXACT` are hashed. Of a larger one, `SAMPLE` values of each weight are, evenly spread:
    this tells one training from another, but not a change of single values.
    """

    def __init__(self, model: Any, tower: Sequence[str]) -> None:
        config = {k: v for k, v in model.config.to_dict().items() if k != "_name_or_path"}
        versions = [transformers.__version__, torch.__version__]
        settings = json.dumps([config, versions], sort_keys=True, default=str)
        self._settings = hashlib.blake2b(settings.encode(), digest_size=16).hexdigest()
        self._parts = tower_parts(model, tower)
        self._hashed: Any = None
        self._weights = ""

    def __call__(self) -> str:
        """The key now; weights are hashed again only where they were replaced or written to."""
        tensors = self._tensors()
        state = [(id(t), t.data_ptr(), t._version) for t in tensors.values()]
        if state != self._hashed:
            self._weights, self._hashed = _hash_weights(tensors), state
        device = next(iter(tensors.values())).device.type
        is_rounded = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        autocast = torch.get_autocast_dtype(device) if is_rounded else None
        rounding = torch.get_num_threads() if device == "cpu" else torch.get_float32_matmul_precision()
        return f"{self._settings} {self._weights} {device} {autocast} {rounding}"

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, part in self._parts.items():
            named = part.state_dict(keep_vars=True) if isinstance(part, nn.Module) else {"": part}
            tensors |= {f"{name}.{n}": t for n, t in named.items()}
        return tensors


def _hash_weights(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    is_large = sum(t.nbytes for t in tensors.values()) > EXACT
    values: dict[torch.dtype, list[Tensor]] = {}
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        flat = tensor.detach().flatten()
        values.setdefault(tensor.dtype, []).append(flat[:: max(1, len(flat) // SAMPLE)] if is_large else flat)
    for same in values.values():  # one transfer each
        digest.update(as_bytes(torch.cat(same)))
    return digest.hexdigest()


def picture_key(tower_key: str, inputs: Mapping[str, Tensor]) -> str:
    """Names a picture as a tower sees it: the processor's settings show in its tensors."""
    digest = hashlib.blake2b(tower_key.encode(), digest_size=16)
    for name, tensor in sorted(picture_inputs(dict(inputs)).items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(as_bytes(tensor))
    return digest.hexdigest()
