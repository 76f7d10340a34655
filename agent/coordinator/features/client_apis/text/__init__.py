"""What conversations share: their images, and the pieces of an answer that is streamed."""
