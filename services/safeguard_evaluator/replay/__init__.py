"""Recorded actions, judged once more by policies that are not in force yet."""
