"""The music of the second edition: captions, corpus and soundfont.

The weights in data/pocket are of the first edition until those of the second are trained; then these three modules
take the place of their namesakes in `steerlib.pocket`.
"""
