"""OpenAI's API: turns its requests into jobs, and their results into its answers.

`chat`, `completions`, `responses`, `audio`, `images`, `embeddings` and `models` implement one path each: `serving` submits their job,
`results` and `job_stream` wait for its end.
"""
