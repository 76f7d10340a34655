"""The form of a transcoding job."""

from __future__ import annotations

from runners.forms import FormField, ServiceForm

FORM = ServiceForm(
    first={
        "input_url": FormField("Video or sound", "Any usual format.", accept="video/*,audio/*"),
        "output_format": FormField(
            "Convert to",
            "MP4 plays nearly everywhere. MKV keeps the most tracks and subtitles.",
            choices={
                "mp4": "MP4",
                "webm": "WebM (web pages)",
                "mkv": "MKV",
                "mov": "MOV (Apple)",
                "gif": "GIF (moving picture without sound)",
                "mp3": "MP3 (sound)",
                "m4a": "M4A (sound)",
                "ogg": "Ogg (sound)",
                "flac": "FLAC (sound, lossless)",
                "wav": "WAV (sound, uncompressed)",
            },
        ),
        "resolution": FormField(
            "Picture size",
            "Width x height in pixels, or a usual name such as 720p.",
            empty="As in your file",
            suggestions=("3840x2160", "1920x1080", "1280x720", "854x480", "720p"),
        ),
        "quality": FormField(
            "Quality (0 best, 51 smallest)",
            "18 looks like the original, 28 saves much space. AV1 and VP9 go up to 63.",
            empty="A usual value",
        ),
    },
    more={
        "Cut": {
            "start": FormField(
                "Start", "Where the result begins in your file, in seconds or as 1:30.", control="time"
            ),
            "duration": FormField(
                "Length",
                "How long the result is, in seconds or minutes and seconds. Without it, everything to the end.",
                control="time",
            ),
            "end": FormField(
                "End", "The last moment in your file; an alternative to the length.", control="time"
            ),
        },
        "Picture": {
            "codec": FormField(
                "Video codec",
                "How the picture is compressed. To keep it unchanged is fast and loses nothing, but cuts only at key frames.",
                empty="The usual one for the format",
                choices={
                    "h264": "H.264 (plays everywhere)",
                    "hevc": "H.265 (HEVC), smaller",
                    "av1": "AV1, smallest and slowest",
                    "vp9": "VP9, for WebM",
                    "copy": "Keep it unchanged",
                },
            ),
            "fit": FormField(
                "If the shape differs",
                "What happens to a picture that has not the shape of the size above.",
                choices={"pad": "Add black bars", "contain": "Fit inside the size", "stretch": "Stretch it"},
            ),
            "fps": FormField(
                "Frames per second", "From 1 to 240. Fewer make motion less smooth.", empty="As before"
            ),
            "bitrate": FormField(
                "Video bitrate",
                "Bits per second, such as 2500k or 4M, if the file must have a certain size. Replaces the quality.",
                empty="Follows from the quality",
            ),
            "hardware": FormField(
                "Encode on a graphics card",
                "Faster; the result is a little larger or less sharp.",
                choices={"auto": "If the machine can", "off": "No", "required": "Only on machines that can"},
            ),
        },
        "Sound": {
            "audio_codec": FormField(
                "Audio codec",
                "How the sound is compressed.",
                empty="The format's usual one",
                choices={
                    "aac": "AAC",
                    "opus": "Opus",
                    "mp3": "MP3",
                    "flac": "FLAC (lossless)",
                    "copy": "Leave it unchanged",
                    "none": "Without sound",
                },
            ),
            "audio_bitrate": FormField(
                "Audio bitrate", "Such as 128k; 96k to 192k suit most music.", empty="The codec's usual one"
            ),
        },
    },
)
