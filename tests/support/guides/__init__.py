"""The code blocks of the guides, and shells in which they are run."""
