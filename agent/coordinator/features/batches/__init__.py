"""OpenAI's files and batches: a file of requests is worked off within a day, at a lower price and priority.

`files` and `batches` are the use cases, `store` their rows. `worker` runs in the leading replica: `validation` reads a new batch,
`run` sends its lines through the coordinator's own application, `finishing` writes the results. `terms` are price and priority.
"""
