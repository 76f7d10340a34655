"""Versions of the project as their users install them: from wheels, each in an environment of its own."""
