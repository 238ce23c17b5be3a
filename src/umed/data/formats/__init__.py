"""Annotation formats of the user's own pictures, one module each.

`list_pictures(root, annotations, ...)` reads the annotation files and opens no picture; `FolderSource` then adds
modality, group, split and window.
"""

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
