"""The tokens of texts, in the forms of llama.cpp and vLLM."""
