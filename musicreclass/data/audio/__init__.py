"""One audio file to samples: headers, decoding, resampling. Knows no dataset and keeps nothing."""
