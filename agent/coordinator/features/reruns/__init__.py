"""Running a job again, with the same input or with changes."""
