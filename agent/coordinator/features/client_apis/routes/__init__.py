"""What routes of these APIs share: how they are declared, and answers that are streamed."""
