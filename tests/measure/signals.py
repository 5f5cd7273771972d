"""Signals whose truth is known."""

import numpy as np

RATE = 16000


def tone(frequency, *, seconds=2.0, rate=RATE, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def clicks(times, *, seconds, rate=RATE):
    """Noise bursts of 30 ms with a fast decay at the given times."""
    audio = np.zeros(int(seconds * rate))
    burst = np.random.default_rng(0).normal(size=int(0.03 * rate)) * np.exp(
        -np.linspace(0, 6, int(0.03 * rate))
    )
    for time in times:
        start = int(time * rate)
        audio[start : start + len(burst)] += 0.3 * burst[: len(audio) - start]
    return audio
