"""Origin and licence of data sets, by words in their names."""

_NOTES = {
    "raf": "RAF-DB: non-commercial research only; its images may not be passed on",
    "affectnet": "AffectNet, CK+, TFEID and FFHQ-based faces: non-commercial research only",
    "fer2013": "FER2013: pictures from the web, released for a research challenge; "
    "treated as non-commercial research only",
}


def licence(name: str) -> str:
    """The licence of the data set called `name`, in one line."""
    notes = [note for word, note in _NOTES.items() if word in name.lower()]
    return "; ".join(notes) or "not known to this project: ask whoever published it"
