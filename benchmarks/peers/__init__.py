"""The systems that users would pick instead, each in a virtual environment of its own.

A peer's file says how it is tuned, and why. All run `network.Network`: the same artefact, the same
preprocessing, a model process a core with one thread.
"""
