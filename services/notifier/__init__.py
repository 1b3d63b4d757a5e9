"""Tells people: plans deliveries and makes them, by one task for each kind of channel."""
