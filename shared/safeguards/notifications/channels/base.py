"""The interface of a channel, and what the built-in ones share."""

from __future__ import annotations
