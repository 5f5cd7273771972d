"""The embedded model: its corpus, codec, language model and judges, and how each is made.

``pocket`` is a small `MusicgenMelodyForConditionalGeneration` trained from scratch on music that this
package composes and renders itself, so the truth about every training clip is known.
``python -m steerlib.pocket --help`` lists the commands that make it again.
"""
