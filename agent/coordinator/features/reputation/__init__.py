"""Statistics of miners, and their reputations, which follow from them (docs/explanation/reputation.md)."""
