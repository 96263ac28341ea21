"""One module a suite: ``main`` measures what its result file does not have yet, ``TABLES`` shows what it has."""
