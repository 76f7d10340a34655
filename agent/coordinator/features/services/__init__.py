"""One call for each service, beside `POST /v1/jobs`."""
