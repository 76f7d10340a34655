"""Requests for text: chats and continuations, and what the Responses API shares with them."""
