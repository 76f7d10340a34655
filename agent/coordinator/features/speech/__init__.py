"""`POST /v1/audio/speech` of OpenAI's API: a text becomes a job of `speech_synthesis`, and its sound is sent while it is made."""
