"""The console: where reviewers decide, and operators look after the system."""
