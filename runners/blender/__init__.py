"""Pictures and animations rendered by Blender."""

from runners.blender.runner import BlenderRunner

__all__ = ["BlenderRunner"]
