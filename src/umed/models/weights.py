"""Tensors of files: read without pickle, and exactly those that the model expects or none."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from umed.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]
INDEX = "model.safetensors.index.json"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        InputError: no such file, or one that cannot be read.
    """
    if not path.is_file():
        pickled = path.with_suffix(".bin")
        there = f" ({pickled.name} is a pickle, which is not read)" if pickled.is_file() else ""
        raise InputError(f"{path}: no such file{there}: copy the whole folder, or save it again as safetensors")
    try:
        return load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"{path}: not readable as safetensors ({first_line(error)}): copy it again") from None


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_tensors(where: str, expected: Shapes, found: Shapes, count: int | None = None) -> None:
    """Refuse any set of tensors but the expected one, in names and in shapes.

    Args:
        where: begins the message.
        count: of the tensors in the file, where several have one place; None = as many as found.

    Raises:
        InputError: with both counts and an example of either side.
    """
    fit = {name for name, shape in found.items() if expected.get(name) == shape}
    count = len(found) if count is None else count
    if len(fit) == len(expected) == count:
        return
    both = expected.keys() & found.keys()
    examples = []
    for side, shapes in (("expected", expected), ("found", found)):
        name = min(shapes.keys() - fit, default=None)
        shape = f" {list(shapes[name])}" if name in both else ""
        examples.append(f"{side} {name}{shape}" if name else f"nothing else {side}")
    raise InputError(
        f"{where}: the model expects {len(expected)} tensors, the file has {count}, {len(fit)} fit "
        f"({', '.join(examples)}): use the model and the versions of transformers and peft that it was made with"
    )


def load_whole(model_class: Any, path: str, where: str, **options: Any) -> Any:
    """A transformers model all of whose weights are in its files, whose renamings and tied weights are no difference.

    Args:
        path: folder or hub id.
        where: begins the message.
        options: of `from_pretrained`.

    Raises:
        InputError: no model there, or files with other tensors than the model expects; transformers would draw at
            random what is missing.
    """
    _check_files(where, Path(path))
    try:
        model, info = model_class.from_pretrained(
            path, output_loading_info=True, ignore_mismatched_sizes=True, use_safetensors=True, **options
        )
    except Exception as error:  # of files that are not ours, transformers raises whatever it stumbles on
        raise InputError(f"{where}: cannot be loaded ({first_line(error)})") from error
    mismatched = {name: tuple(shape) for name, shape, _ in info["mismatched_keys"]}
    lacking = info["missing_keys"] | mismatched.keys()
    if lacking or info["unexpected_keys"]:
        once = {id(tensor): name for name, tensor in reversed(model.state_dict(keep_vars=True).items())}  # where tied
        expected = {name: tuple(model.state_dict()[name].shape) for name in once.values()}
        found = {name: shape for name, shape in expected.items() if name not in lacking}
        check_tensors(where, expected, {**found, **mismatched, **dict.fromkeys(info["unexpected_keys"], ())})
    return model


def _check_files(where: str, folder: Path) -> None:
    """Refuse a folder that holds an adapter, which transformers would put into another model, and lost shards."""
    if (folder / "adapter_config.json").is_file():
        raise InputError(f"{where}: an adapter: give the model it was trained from, and the adapter as init_from")
    if not (folder / INDEX).is_file() or (folder / "model.safetensors").is_file():
        return
    try:
        shards = set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values())
        lost = sorted(s for s in shards if Path(s).name != s or not (folder / s).is_file())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{where}: {INDEX} is not readable: copy the folder again") from None
    if lost:
        raise InputError(
            f"{where}: {INDEX} names {len(shards)} files, {len(lost)} of them, such as {lost[0]}, not there"
        )


def first_line(error: Exception) -> str:
    """The first line of a library's error, for our one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
