"""Reaching people: messages, and the channels that carry them."""
