"""Notices to the owner: `events` decides which are due, `delivery` sends them, `watch` looks at the machine and remains aware of what was sent."""
