"""OpenAI's API: turns its requests into jobs, and their results into its answers.

`text`, `responses`, `audio`, `images` and `embeddings` implement the paths.
"""
