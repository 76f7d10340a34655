"""Videos and audio transcoded by FFmpeg, whose programs other runners use too."""

from runners.ffmpeg.runner import FFmpegRunner

__all__ = ["FFmpegRunner"]
