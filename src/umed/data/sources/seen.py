"""Pictures with the same pixels, across all sources: one is kept, and one with boxes rather than a control."""

from collections.abc import Sequence

from umed.records import Record

# digest of pixels -> source and image of the picture that is kept of those that have them, and whether it is a control
Seen = dict[bytes, tuple[str, str, bool]]


def find_twin(seen: Seen, pixels: bytes, is_control: bool) -> tuple[str, str] | None:
    """Source and image of the kept picture that makes this one a duplicate; a control does so to controls only."""
    source, image, is_kept_control = seen.get(pixels, ("", "", True))
    return (source, image) if source and (is_control or not is_kept_control) else None


def find_displaced(controls: Sequence[Record], seen: Seen) -> list[Record]:
    """Controls whose pixels a later picture has with boxes, of the sources that fill `seen`."""
    kept = {(source, image) for source, image, _ in seen.values()}
    sources = {source for source, _ in kept}
    return [c for c in controls if c.source in sources and (c.source, c.image) not in kept]
