"""Streams of messages about events as they happen: the WebSocket, and server-sent events of one job."""
