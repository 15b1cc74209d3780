"""What a dataset contains, before anything is trained: counts, formats, feature columns and spectrograms, with figures and a page.

Test tracks are only counted: features, formats and samples are described for train and valid. Nothing here opens data or prints.
"""
