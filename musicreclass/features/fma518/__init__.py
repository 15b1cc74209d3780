"""The 518 features of the FMA dataset (Defferrard et al., ISMIR 2017), computed like the published table.

74 time series per track (chroma, tonnetz, MFCC, spectral shape, energy, zero crossings), each summarised by seven statistics.
`reference` computes the series with librosa; `fast` computes the same ones several times faster, also of a file of any length.
"""
