// The random stream of a clip, the same as `noise_keys` in steerlib/engine/sampling.py: SHA-256 of seed and prompt keys a
// Philox counter (Salmon et al. 2011), as numpy has it.
SteerLive.part(function (live) {
  'use strict';

  const PRIMES = [];
  for (let n = 2; PRIMES.length < 64; n++) if (PRIMES.every(prime => n % prime)) PRIMES.push(n);
  const fraction = x => Math.floor((x - Math.floor(x)) * 2 ** 32) | 0;
  const ROUNDS = PRIMES.map(prime => fraction(Math.cbrt(prime)));
  const START = PRIMES.slice(0, 8).map(prime => fraction(Math.sqrt(prime)));

  /** SHA-256 of bytes, as 32 bytes. The browser's own is only there on pages served securely, and asynchronous. */
  live.sha256 = function (bytes) {
    const blocks = Math.ceil((bytes.length + 9) / 64);
    const padded = new Uint8Array(64 * blocks);
    const view = new DataView(padded.buffer);
    padded.set(bytes);
    padded[bytes.length] = 0x80;
    view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
    view.setUint32(padded.length - 4, bytes.length << 3);
    const state = START.slice();
    const w = new Int32Array(64);
    const turn = (x, by) => (x >>> by) | (x << (32 - by));
    for (let block = 0; block < padded.length; block += 64) {
      for (let i = 0; i < 16; i++) w[i] = view.getInt32(block + 4 * i);
      for (let i = 16; i < 64; i++) {
        const x = w[i - 15];
        const y = w[i - 2];
        const first = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3);
        const second = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
        w[i] = w[i - 16] + first + w[i - 7] + second;
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let i = 0; i < 64; i++) {
        const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + ROUNDS[i] + w[i];
        const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
      }
      [a, b, c, d, e, f, g, h].forEach((value, i) => {
        state[i] = (state[i] + value) | 0;
      });
    }
    const digest = new DataView(new ArrayBuffer(32));
    state.forEach((value, i) => digest.setInt32(4 * i, value));
    return new Uint8Array(digest.buffer);
  };

  const LOW = (1n << 64n) - 1n;

  /** The first `count` numbers of 64 bits of numpy's `Philox(key)`, for a key of two halves: an array of BigInt. */
  live.philox = function (low, high, count) {
    const out = [];
    for (let counter = 1n; out.length < count; counter++) {
      let a = counter;
      let b = 0n;
      let c = 0n;
      let d = 0n;
      let x = low;
      let y = high;
      for (let round = 0; round < 10; round++) {
        const p = 0xd2e7470ee14c6c93n * a;
        const q = 0xca5a826395121157n * c;
        [a, b, c, d] = [(q >> 64n) ^ b ^ x, q & LOW, (p >> 64n) ^ d ^ y, p & LOW];
        x = (x + 0x9e3779b97f4a7c15n) & LOW;
        y = (y + 0xbb67ae8584caa73bn) & LOW;
      }
      out.push(a, b, c, d);
    }
    return out.slice(0, count);
  };

  /** Two 32-bit numbers for each of (positions, codebooks), in the last axis: a Uint32Array. */
  live.noiseKeys = function (prompt, seed, positions, codebooks) {
    const digest = new DataView(live.sha256(new TextEncoder().encode(`${seed}\n${prompt}`)).buffer);
    const numbers = live.philox(digest.getBigUint64(0, true), digest.getBigUint64(8, true), positions * codebooks);
    const keys = new Uint32Array(2 * numbers.length);
    numbers.forEach((number, i) => {
      keys[2 * i] = Number(number >> 32n);
      keys[2 * i + 1] = Number(number & 0xffffffffn);
    });
    return keys;
  };
});
