// Fourier transforms of windows of sound.
SteerLive.part(function (live) {
  'use strict';

  /** Transforms of one size, a power of 2: forward, in place, of two arrays (real and imaginary part). */
  live.Fourier = class {
    constructor(size) {
      const bits = Math.log2(size);
      if (!Number.isInteger(bits)) throw new Error(`Windows must have 2, 4, 8, … samples, not ${size}.`);
      this.size = size;
      this.cos = Float64Array.from({ length: size / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / size));
      this.sin = Float64Array.from({ length: size / 2 }, (_, i) => Math.sin((2 * Math.PI * i) / size));
      this.reversed = Uint32Array.from({ length: size }, (_, i) => {
        let turned = 0;
        for (let bit = 0; bit < bits; bit++) turned |= ((i >> bit) & 1) << (bits - 1 - bit);
        return turned;
      });
    }

    forward(re, im) {
      const { size, cos, sin, reversed } = this;
      for (let i = 0; i < size; i++) {
        const j = reversed[i];
        if (j <= i) continue;
        const x = re[i];
        const y = im[i];
        re[i] = re[j];
        im[i] = im[j];
        re[j] = x;
        im[j] = y;
      }
      for (let length = 2; length <= size; length <<= 1) {
        const half = length >> 1;
        const stride = size / length;
        for (let start = 0; start < size; start += length) {
          for (let j = 0, k = 0; j < half; j++, k += stride) {
            const a = start + j;
            const b = a + half;
            const x = re[b] * cos[k] + im[b] * sin[k];
            const y = im[b] * cos[k] - re[b] * sin[k];
            re[b] = re[a] - x;
            im[b] = im[a] - y;
            re[a] += x;
            im[a] += y;
          }
        }
      }
    }
  };

  /** Hann window, periodic, as torch and librosa have it. */
  live.hann = size => Float32Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
});
