"""Runs the code blocks of documents."""
