"""The routes of streams: the WebSocket, and the events of a job."""
