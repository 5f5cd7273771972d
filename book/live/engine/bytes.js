// Base64, half-precision and 8-bit numbers: the forms in which weights and vectors travel.
SteerLive.part(function (live) {
  'use strict';

  /** Bytes of a base64 text. */
  live.fromBase64 = function (text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  };

  /** Bytes of the base64 text in the comment of a function, see `weights.py`. */
  live.bytesOf = function (holder) {
    const text = String(holder);
    return live.fromBase64(text.slice(text.indexOf('/*') + 2, text.lastIndexOf('*/')));
  };

  /** Base64 text of bytes. */
  live.toBase64 = function (bytes) {
    let binary = '';
    for (let i = 0; i < bytes.length; i += 0x8000) binary += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
    return btoa(binary);
  };

  /** Half-precision numbers, as their 16 bits, into `out` (Float32Array, not shorter): exact. */
  live.widenHalves = function (halves, out) {
    const bits = new Uint32Array(out.buffer, out.byteOffset, halves.length);
    for (let i = 0; i < halves.length; i++) {
      const half = halves[i];
      const sign = (half & 0x8000) << 16;
      const exponent = (half >> 10) & 31;
      const mantissa = half & 1023;
      if (exponent === 0)
        out[i] = (sign ? -1 : 1) * mantissa * 2 ** -24; // subnormal, or zero
      else if (exponent === 31)
        bits[i] = sign | 0x7f800000 | (mantissa << 13); // infinite, or no number
      else bits[i] = sign | ((exponent + 112) << 23) | (mantissa << 13);
    }
  };

  /** Rows of `wide` numbers times the scale of each row, in place. */
  live.scaleRows = function (rows, scales, wide) {
    scales.forEach((scale, row) => {
      for (let i = row * wide, end = i + wide; i < end; i++) rows[i] *= scale;
    });
  };
});
