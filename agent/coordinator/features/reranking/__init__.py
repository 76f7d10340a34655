"""Reranking in the forms of Jina, Cohere and vLLM: a request becomes a job of `text_reranking`, or of `text_embedding` for its models."""
