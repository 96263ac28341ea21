"""``kill -9`` of a writer at random moments: the index is as before the command or as after it.

``python -m tests.crash --kills 500``.
"""
