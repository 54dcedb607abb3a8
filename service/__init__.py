"""Facial-emotion classification with explanations, after GiMeFive (arXiv 2402.15662)."""

__version__ = "0.3.0"
