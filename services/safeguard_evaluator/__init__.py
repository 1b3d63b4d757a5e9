"""Judges actions by policies and gives verdicts."""
