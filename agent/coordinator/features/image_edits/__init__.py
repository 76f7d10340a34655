"""Images that are changed: `POST /v1/images/edits` and `/v1/images/variations` of OpenAI's API, as jobs of `image_generation`."""
