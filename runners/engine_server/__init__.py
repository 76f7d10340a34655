"""Engines that run as servers in processes of their own: llama.cpp and vLLM."""

from runners.engine_server.server import SOCKET, EngineServer, Stream, socket_directory

__all__ = ["SOCKET", "EngineServer", "Stream", "socket_directory"]
