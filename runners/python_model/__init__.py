"""Clients' own Python models."""

from runners.python_model.runner import PythonModelRunner

__all__ = ["PythonModelRunner"]
