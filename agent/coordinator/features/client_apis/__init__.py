"""What the APIs of other products have in common: a request becomes a job, and is answered when the job ends, or while it runs.

`serving` submits the job, `results` and `job_stream` wait for it, `routes.streaming` answers while it runs. `models` are those that
requests may name, and `text` has what conversations share. Each API is a feature of its own.
"""
