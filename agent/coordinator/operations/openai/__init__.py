"""What clients of OpenAI's API ask for, as jobs of ours, and what these make in the answers that those clients read.

`serving` turns a request into a job and holds its answer; `chat`, `completions`, `audio`, `images` and `models` know one path each.
"""
