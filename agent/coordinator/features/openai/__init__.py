"""OpenAI's API: turns its requests into jobs, and their results into its answers.

`text`, `responses`, `audio`, `images`, `embeddings` and `models` implement the paths: `serving` submits a job, `results` and `job_stream`
wait for its end.
"""
