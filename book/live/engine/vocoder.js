// Sound from a magnitude spectrogram: phases that turn as fast as the peaks, then a few rounds of Griffin and Lim with
// momentum. The method, and its numbers, are those of steerlib/pocket/codec.py.
SteerLive.part(function (live) {
  'use strict';

  const FLOOR = 1e-7; // of magnitudes, before their logarithm

  live.Vocoder = class {
    constructor({ n_fft: size, stft_hop: hop, phase_iterations: rounds }) {
      this.size = size;
      this.hop = hop;
      this.rounds = rounds;
      this.bins = size / 2 + 1;
      this.left = (size - hop) >> 1; // a frame is centred on the middle of its hop
      this.fourier = new live.Fourier(size);
      this.window = live.hann(size);
      this.total = this.window.reduce((a, b) => a + b, 0);
      this.re = new Float64Array(size);
      this.im = new Float64Array(size);
    }

    /** The spectrum of (frames × hop) samples into two arrays (frames, bins). Two frames go through one transform. */
    stft(audio, frames, { real, imaginary }) {
      const { size, hop, bins, window, re, im } = this;
      const scale = 1 / this.total;
      const padded = new Float32Array(this.left + (frames + 1) * hop + size);
      padded.set(audio, this.left);
      for (let frame = 0; frame < frames; frame += 2) {
        const from = frame * hop;
        const two = frame + 1 < frames;
        const at = frame * bins;
        for (let i = 0; i < size; i++) {
          re[i] = padded[from + i] * window[i];
          im[i] = two ? padded[from + hop + i] * window[i] : 0;
        }
        this.fourier.forward(re, im);
        for (let k = 0; k < bins; k++) {
          const mirror = (size - k) & (size - 1);
          real[at + k] = scale * (re[k] + re[mirror]);
          imaginary[at + k] = scale * (im[k] - im[mirror]);
          if (!two) continue;
          real[at + bins + k] = scale * (im[k] + im[mirror]);
          imaginary[at + bins + k] = scale * (re[mirror] - re[k]);
        }
      }
    }

    /** The samples of a spectrum, by overlap and add. */
    istft({ real, imaginary }, frames) {
      const { size, hop, bins, window, re, im } = this;
      const scale = this.total / 2 / size;
      const sum = new Float32Array(frames * hop + size);
      const weight = this.weight(frames);
      for (let frame = 0; frame < frames; frame += 2) {
        const two = frame + 1 < frames;
        const at = frame * bins;
        // z = a + ib of two real signals; its inverse is the conjugate of the transform of the conjugate
        for (let k = 0; k < size; k++) {
          const mirrored = k >= bins;
          const j = at + (mirrored ? size - k : k);
          const sign = k === 0 || k === size / 2 ? 0 : mirrored ? -1 : 1;
          re[k] = real[j] - (two ? sign * imaginary[j + bins] : 0);
          im[k] = -(sign * imaginary[j] + (two ? real[j + bins] : 0));
        }
        this.fourier.forward(re, im);
        for (let i = 0, to = frame * hop; i < size; i++, to++) {
          const w = window[i] * scale;
          sum[to] += re[i] * w;
          if (two) sum[to + hop] -= im[i] * w;
        }
      }
      return Float32Array.from({ length: frames * hop }, (_, i) => sum[this.left + i] / weight[this.left + i]);
    }

    /** The sum of the squared windows of so many frames. */
    weight(frames) {
      if (!this.weights || this.weights.frames !== frames) {
        const weights = new Float32Array(frames * this.hop + this.size);
        for (let frame = 0; frame < frames; frame++) {
          for (let i = 0; i < this.size; i++) weights[frame * this.hop + i] += this.window[i] ** 2;
        }
        this.weights = { frames, values: weights.map(value => Math.max(value, 1e-3)) };
      }
      return this.weights.values;
    }

    /** What phases depend on that came before: cycles of each bin, and its advance in the last frame. */
    startOfPhases() {
      return { cycles: new Float64Array(this.bins), before: new Float64Array(this.bins) };
    }

    /** Phases (frames, bins) of logarithms of magnitudes; `state`, of the frame before, is taken on. */
    phases(logs, frames, state) {
      const { bins } = this;
      const turn = this.hop / this.size;
      const { cycles, before } = state;
      const phases = new Float32Array(frames * bins);
      const nearest = new Int32Array(bins);
      for (let frame = 0; frame < frames; frame++) {
        const here = logs.subarray(frame * bins, (frame + 1) * bins);
        let last = -1;
        for (let k = 0; k < bins; k++) {
          // each bin's nearest peak, of two the lower
          if (k > 0 && k < bins - 1 && here[k - 1] <= here[k] && here[k] > here[k + 1]) {
            for (let between = last < 0 ? 0 : ((last + k) >> 1) + 1; between <= k; between++) nearest[between] = k;
            last = k;
          } else nearest[k] = Math.max(last, 0);
        }
        for (let k = 0; k < bins; k++) {
          // each bin turns as fast as its peak, whose frequency a parabola finds
          const peak = nearest[k];
          let offset = 0;
          if (peak > 0 && peak < bins - 1) {
            const left = here[peak - 1];
            const right = here[peak + 1];
            const curvature = Math.min(left - 2 * here[peak] + right, -1e-6);
            offset = Math.min(Math.max((0.5 * (left - right)) / curvature, -0.5), 0.5);
          }
          const advance = (peak + offset) * turn;
          cycles[k] += 0.5 * (advance + before[k]);
          cycles[k] -= Math.floor(cycles[k]);
          before[k] = advance;
        }
        for (let k = 0; k < bins; k++) phases[frame * bins + k] = 2 * Math.PI * cycles[nearest[k]] + Math.PI * (k & 1);
      }
      return phases;
    }

    /** Magnitudes of a spectrogram in dB, with phases that follow on `state`. */
    begin(decibels, state) {
      const magnitudes = decibels.map(value => 10 ** (value / 20));
      const frames = decibels.length / this.bins;
      const phases = this.phases(
        magnitudes.map(value => Math.log(Math.max(value, FLOOR))),
        frames,
        state,
      );
      return { magnitudes, phases, frames };
    }

    /** Sound of magnitudes and first phases. */
    finish({ magnitudes, phases, frames }) {
      const spectrum = {
        real: magnitudes.map((value, i) => value * Math.cos(phases[i])),
        imaginary: magnitudes.map((value, i) => value * Math.sin(phases[i])),
      };
      const empty = () => ({ real: new Float32Array(frames * this.bins), imaginary: new Float32Array(frames * this.bins) });
      let [now, before] = [empty(), empty()];
      for (let round = 0; round < this.rounds; round++) {
        this.stft(this.istft(spectrum, frames), frames, now);
        const { real, imaginary } = now;
        const old = round ? before : now;
        for (let i = 0; i < magnitudes.length; i++) {
          const x = real[i] + 0.5 * (real[i] - old.real[i]);
          const y = imaginary[i] + 0.5 * (imaginary[i] - old.imaginary[i]);
          const scale = magnitudes[i] / Math.sqrt(Math.max(x * x + y * y, 1e-18));
          spectrum.real[i] = x * scale;
          spectrum.imaginary[i] = y * scale;
        }
        [now, before] = [before, now];
      }
      return this.istft(spectrum, frames);
    }

    /** Sound of a whole spectrogram in dB, (frames, bins). */
    sound(decibels) {
      return this.finish(this.begin(decibels, this.startOfPhases()));
    }
  };
});
