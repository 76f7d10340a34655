"""Models on disk: which there are, where they come from, and how long they stay."""
