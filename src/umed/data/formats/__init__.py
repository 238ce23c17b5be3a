"""How annotation files of the user's own pictures are read, one module per format.

Each has `pictures(root, annotations, source, ...)`, which lists what the files say and opens no picture; modality,
group, split and window are then settled by `FolderSource`.
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
