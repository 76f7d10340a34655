"""Ollama's API: turns its requests into jobs, and their results into its answers.

`chat` and `embeddings` implement the paths of the models' work, `catalogue` those that show models, and `keyless` lets programs of
this machine do without a key.
"""
