"""Safeguards that come with the library."""
