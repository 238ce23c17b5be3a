"""Checks of `task=parity`: a tiny random model of each family against plain transformers; the tests call the same."""

from collections.abc import Callable

from umed.synthetic.parity.geometry import codec, patch_map, token_places
from umed.synthetic.parity.numbers import adapter, attention, in_training, log_probs
from umed.synthetic.parity.tiny_model import TinyModel
from umed.synthetic.parity.training import resume

# name -> what measures the largest difference, and its limit
CHECKS: dict[str, tuple[Callable[[TinyModel], float], float]] = {
    "log-probs": (log_probs, 1e-5),
    "attention": (attention, 1e-6),
    "patch map": (patch_map, 0.0),
    "token places": (token_places, 0.25),  # tokens of a tower attend to each other: some misses are its own
    "codec": (codec, 1.0),
    "in training": (in_training, 1e-5),
    "adapter": (adapter, 1e-5),
    "resume": (resume, 0.0),
}
NEED_IMAGE_TOKENS = ("attention", "patch map", "token places")
