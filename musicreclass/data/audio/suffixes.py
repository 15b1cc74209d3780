"""The suffixes of recordings, in lower case. Nothing is imported, so that names can be listed quickly."""

DECODED = (".wav", ".au", ".aif", ".aiff", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".wave", ".aifc", ".caf", ".w64", ".rf64",
           ".snd", ".voc")  # fmt: skip
CONVERTED = (
    ".m4a",
    ".aac",
    ".mp4",
    ".wma",
    ".m4b",
    ".3gp",
    ".mka",
    ".webm",
    ".wv",
    ".ape",
)  # by ffmpeg, as a whole at every read, so best cached
SUFFIXES = (*DECODED, *CONVERTED)
