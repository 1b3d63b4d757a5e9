"""The door: the agents' API, the reviewers' answers, the outcomes."""
