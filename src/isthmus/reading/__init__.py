"""Bytes from outside become rows, and what is written is never seen in half."""
