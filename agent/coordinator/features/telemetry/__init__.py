"""Spans of jobs in the coordinator, and its metrics, for OpenTelemetry."""
