"""OpenAI's API: turns its requests into jobs, and their results into its answers.

`serving` submits the job and waits for its end; `chat`, `completions`, `audio`, `images` and `models` implement one path each.
"""
