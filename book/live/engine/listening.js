// Equal loudness: the level of a clip as steerlib/page/sound.py has it, so that clips are compared at one loudness.
SteerLive.part(function (live) {
  'use strict';

  const LEVEL = 0.1;
  const PEAK = 0.97;
  const SILENCE = 1e-5;
  // The two filters of ITU-R BS.1770-4, a shelf and a high-pass: frequency in Hz, quality, gain in dB.
  const FILTERS = [
    [1681.974450955533, 0.7071752369554196, 3.999843853973347],
    [38.13547087602444, 0.5003270373238773, null],
  ];

  function coefficients([frequency, quality, gain], sampleRate) {
    const k = Math.tan((Math.PI * frequency) / sampleRate);
    const whole = 1 + k / quality + k * k;
    const feedback = [(2 * (k * k - 1)) / whole, (1 - k / quality + k * k) / whole];
    if (gain === null) return { forward: [1, -2, 1], feedback };
    const high = 10 ** (gain / 20);
    const band = high ** 0.4996667741545416;
    return {
      forward: [
        (high + (band * k) / quality + k * k) / whole,
        (2 * (k * k - high)) / whole,
        (high - (band * k) / quality + k * k) / whole,
      ],
      feedback,
    };
  }

  /** Root mean square after K-weighting, full scale 1. */
  live.loudnessOf = function (samples, sampleRate) {
    const filters = FILTERS.map(filter => ({ ...coefficients(filter, sampleRate), one: 0, two: 0 }));
    let sum = 0;
    for (const sample of samples) {
      let x = sample;
      for (const filter of filters) {
        const [b0, b1, b2] = filter.forward;
        const [a1, a2] = filter.feedback;
        const y = b0 * x + filter.one;
        filter.one = b1 * x - a1 * y + filter.two;
        filter.two = b2 * x - a2 * y;
        x = y;
      }
      sum += x * x;
    }
    return Math.sqrt(sum / samples.length);
  };

  /** A gain for each clip that brings all of them to one loudness, and none above full scale. */
  live.equalGains = function (clips, sampleRate) {
    const levels = clips.map(clip => live.loudnessOf(clip, sampleRate));
    const room = clips.map(
      (clip, i) => (PEAK * levels[i]) / clip.reduce((peak, x) => Math.max(peak, Math.abs(x)), SILENCE),
    );
    const target = Math.min(LEVEL, ...room.filter((_, i) => levels[i] > SILENCE));
    return levels.map(level => (level > SILENCE ? target / level : 1));
  };
});
