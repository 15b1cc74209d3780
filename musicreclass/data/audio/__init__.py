"""Reads one audio file into samples: headers, decoding, resampling. Knows no dataset and stores nothing."""
