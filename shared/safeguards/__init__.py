"""Let AI agents ask people before they do something risky."""
