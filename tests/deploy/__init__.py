"""Tests of what runs the stack on one machine."""
