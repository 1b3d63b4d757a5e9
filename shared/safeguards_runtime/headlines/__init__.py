"""What a request is about, in one sentence made of what would run."""
