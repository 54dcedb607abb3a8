"""What is known about where data sets come from, by words in their names."""

_NOTES = {
    "raf": "RAF-DB: non-commercial research only; its images may not be passed on",
    "affectnet": "AffectNet, CK+, TFEID and FFHQ-based faces: non-commercial research only",
    "fer2013": "FER2013: pictures from the web, released for a research challenge; "
    "treated as non-commercial research only",
}


def licence(name: str) -> str:
    """What may be done with the data set called `name`, in a line."""
    notes = [note for word, note in _NOTES.items() if word in name.lower()]
    return "; ".join(notes) or "not known to this project: ask whoever published it"
