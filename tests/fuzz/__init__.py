"""Fuzzing of every reader of bytes from outside: valid files, changed by chance, must be refused or read.

``python -m tests.fuzz TARGET --seconds 600``; the targets are those of :mod:`tests.fuzz.targets`.
"""
