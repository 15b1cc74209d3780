"""What a person does with a table of labels: check it by ear, and order the library by it: genre folders, playlists, genre tags.

It reads tables of labels, and knows no run and no model. Every change of the library is journalled and can be undone; this is the
only package that writes to the user's recordings.
"""
