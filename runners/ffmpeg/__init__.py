"""Transcoding of video and audio with FFmpeg, whose programs other runners also use."""

from runners.ffmpeg.runner import FFmpegRunner

__all__ = ["FFmpegRunner"]
