"""Configuration files: read once, every mistake reported at once, then small frozen options.

`load` is the way in; `options` is what the rest of drsync sees. Nobody passes the file around.
"""
