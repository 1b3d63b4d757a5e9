"""Judges actions by policies and grants, and gives verdicts."""
