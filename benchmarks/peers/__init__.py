"""The systems to compare with, each in its own virtual environment.

Each file says how its system is tuned, and why. All run `network.Network`: the same model file, the
same preprocessing, and one single-threaded model process per core.
"""
