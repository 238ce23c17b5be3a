"""Which types of weights and precisions training takes: trained weights and their gradients are in fp32."""

from collections.abc import Iterable

import torch
from torch import nn

from umed.errors import InputError

PRECISIONS = ("32-true", "bf16-mixed", "32", "bf16")  # the last two are Lightning's short names of the others
INSTEAD = "set model.dtype=float32 trainer.precision=bf16-mixed"


def check_precision(precision: str, dtype: str, whole: bool) -> None:
    """Refuse settings with which weights would not learn; nothing has been loaded yet.

    Args:
        precision: `trainer.precision`.
        dtype: `model.dtype`.
        whole: weights of the model itself are trained, not only an adapter's, which are fp32 whatever its type.

    Raises:
        InputError: one of them, with what to set.
    """
    if precision not in PRECISIONS:
        raise InputError(
            f"trainer.precision={precision}: trained weights and their gradients are in fp32; set trainer.precision="
            "32-true or bf16-mixed"
        )
    if whole and dtype in ("bfloat16", "float16"):
        raise InputError(
            f"model.dtype={dtype} where the model itself is trained (model.adapter=null, modules_to_save, or init_from "
            f"with a whole model): small steps round to nothing in 16 bits; {INSTEAD}"
        )
    if dtype == "float16":
        raise InputError("model.dtype=float16: small gradients round to 0 on their way through it; use bfloat16")


def check_trained(weights: Iterable[tuple[str, nn.Parameter]]) -> None:
    """Refuse trained weights of 16 bits, such as whole modules beside an adapter.

    Raises:
        InputError: naming the first of them.
    """
    short = {name: p.dtype for name, p in weights if p.requires_grad and p.dtype != torch.float32}
    if short:
        name, dtype = next(iter(short.items()))
        raise InputError(
            f"{len(short)} trained weights are not in fp32, such as {name} ({str(dtype).removeprefix('torch.')}): "
            f"small steps round to nothing there; {INSTEAD}, or train an adapter and nothing else"
        )
