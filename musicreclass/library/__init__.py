"""Changes a music library by its labels: genre folders, playlists, genre tags; every change is journalled and can be undone.

It reads tables of labels, and knows no run and no model. This is the only package that writes to the user's recordings.
"""
