"""Tests of the safeguard-evaluator."""
