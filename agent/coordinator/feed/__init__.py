"""State changes and live messages, published to subscribers in commit order."""
