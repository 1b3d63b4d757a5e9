"""The parts of a process of one's own: the notification manager."""
