// What a clip measures, by the definitions of steerlib/metrics.py (and of librosa, which it uses): brightness, onsets
// and level; and a mel spectrogram to look at.
SteerLive.part(function (live) {
  'use strict';

  const WINDOW = 2048;
  const BANDS = 128;
  const fourier = new live.Fourier(WINDOW);
  const hann = live.hann(WINDOW);
  const bins = WINDOW / 2 + 1;

  /** Magnitudes (frames, bins), each frame centred on a multiple of `hop` samples. */
  function magnitudes(samples, hop) {
    const frames = 1 + Math.floor(samples.length / hop);
    const made = new Float32Array(frames * bins);
    const padded = new Float32Array(samples.length + 2 * WINDOW);
    const re = new Float64Array(WINDOW);
    const im = new Float64Array(WINDOW);
    padded.set(samples, WINDOW / 2);
    for (let frame = 0; frame < frames; frame++) {
      for (let i = 0; i < WINDOW; i++) re[i] = padded[frame * hop + i] * hann[i];
      im.fill(0);
      fourier.forward(re, im);
      for (let k = 0; k < bins; k++) made[frame * bins + k] = Math.hypot(re[k], im[k]);
    }
    return { made, frames };
  }

  /** Spectral centroid in Hz: weighted by magnitude within a frame, by energy over frames. NaN for silence. */
  live.brightnessOf = function (samples, sampleRate) {
    const { made, frames } = magnitudes(samples, 512);
    let weighted = 0;
    let total = 0;
    for (let frame = 0; frame < frames; frame++) {
      let sum = 0;
      let moment = 0;
      let energy = 0;
      for (let k = 0; k < bins; k++) {
        const magnitude = made[frame * bins + k];
        sum += magnitude;
        moment += magnitude * k;
        energy += magnitude * magnitude;
      }
      if (sum > 0) weighted += (energy * moment) / sum;
      total += energy;
    }
    return total > 0 ? ((weighted / total) * sampleRate) / WINDOW : NaN;
  };

  /** Level in dB re full scale: of the mean square. */
  live.levelOf = samples => 10 * Math.log10(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);

  const toMel = hertz => (hertz < 1000 ? (3 * hertz) / 200 : 15 + (27 * Math.log(hertz / 1000)) / Math.log(6.4)); // Slaney's scale
  const toHertz = mel => (mel < 15 ? (200 * mel) / 3 : 1000 * Math.exp(((mel - 15) * Math.log(6.4)) / 27));

  /** Power in mel bands, (frames, bands): triangles of equal area. */
  function melPower(samples, sampleRate, hop, bands) {
    const { made, frames } = magnitudes(samples, hop);
    const power = new Float32Array(frames * bands);
    const edges = Array.from({ length: bands + 2 }, (_, i) => toHertz((i * toMel(sampleRate / 2)) / (bands + 1)));
    for (let band = 0; band < bands; band++) {
      const [low, middle, high] = edges.slice(band, band + 3);
      const area = 2 / (high - low);
      const first = Math.ceil((low * WINDOW) / sampleRate);
      const last = Math.min(bins - 1, Math.floor((high * WINDOW) / sampleRate));
      for (let k = first; k <= last; k++) {
        const hertz = (k * sampleRate) / WINDOW;
        const weight = area * Math.max(0, Math.min((hertz - low) / (middle - low), (high - hertz) / (high - middle)));
        for (let frame = 0; frame < frames; frame++)
          power[frame * bands + band] += weight * made[frame * bins + k] ** 2;
      }
    }
    return { power, frames };
  }

  /** Decibels, none further than `depth` below the largest. */
  function decibels(power, depth) {
    const made = power.map(value => 10 * Math.log10(Math.max(value, 1e-10)));
    const floor = made.reduce((a, b) => Math.max(a, b), -Infinity) - depth;
    return made.map(value => Math.max(value, floor));
  }

  /** Mel spectrogram in dB below its largest value: {values (frames, bands), frames, bands}. */
  live.melSpectrogram = function (samples, sampleRate, { hop = 400, bands = 64, depth = 80 } = {}) {
    const { power, frames } = melPower(samples, sampleRate, hop, bands);
    const values = decibels(power, depth);
    const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
    return { values: values.map(value => value - largest), frames, bands, depth };
  };

  /** Note onsets per second: peaks of the spectral flux, picked as librosa picks them. */
  live.onsetsOf = function (samples, sampleRate) {
    const hop = 256;
    const { power, frames } = melPower(samples, sampleRate, hop, BANDS);
    const levels = decibels(power, 80);
    const shift = WINDOW / (2 * hop);
    const flux = new Float64Array(frames);
    for (let frame = 1; frame + shift < frames; frame++) {
      let sum = 0;
      for (let band = 0; band < BANDS; band++) {
        sum += Math.max(0, levels[frame * BANDS + band] - levels[(frame - 1) * BANDS + band]);
      }
      flux[frame + shift] = sum / BANDS;
    }
    const most = flux.reduce((a, b) => Math.max(a, b));
    if (!(most > 0)) return 0;
    const seconds = hop / sampleRate;
    const near = Math.floor(0.03 / seconds);
    const far = Math.floor(0.1 / seconds);
    let onsets = 0;
    let last = -Infinity;
    for (let i = 0; i < frames; i++) {
      const around = flux.subarray(Math.max(0, i - near), i + 1);
      const wide = flux.subarray(Math.max(0, i - far), Math.min(frames, i + far + 1));
      const mean = wide.reduce((a, b) => a + b) / wide.length;
      if (around.some(value => value > flux[i]) || flux[i] / most < mean / most + 0.07 || i - last <= near) continue;
      onsets++;
      last = i;
    }
    return (onsets * sampleRate) / samples.length;
  };
});
