"""The pages, and signing in and out."""
