"""Bytes on disk: artifacts by their digest, uploads on their way, and the space that they may take."""
