"""The sentence that the speech of the tests contains."""

SENTENCE = (
    "Please transcribe this short message and send the result back to the coordinator before noon on Friday."
)
