"""Everybody's front door: opening encoders, taking them apart, encoding with them, telling them apart."""
