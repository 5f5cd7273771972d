// The arithmetic of the page's engine: matrix products, normalisation, attention, activations, convolution.
//
// WebAssembly with SIMD, one thread, float32. Every argument that is a `usize` is an address in bytes of an array of
// float32, row after row; the JavaScript beside this file decides where arrays lie. Widths are multiples of 4, which
// `engine/memory.js` sees to. Compiled by AssemblyScript; the command is in README.md.
// @ts-nocheck

@inline function sum(a: v128): f32 {
  return f32x4.extract_lane(a, 0) + f32x4.extract_lane(a, 1) + f32x4.extract_lane(a, 2) + f32x4.extract_lane(a, 3);
}

/** The sums of four, each in the order of `sum`. */
@inline function sums(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5), cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  const ba = v128.shuffle<f32>(a, b, 2, 6, 3, 7), dc = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  const firsts = f32x4.add(v128.shuffle<f32>(ab, cd, 0, 1, 4, 5), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
  return f32x4.add(f32x4.add(firsts, v128.shuffle<f32>(ba, dc, 0, 1, 4, 5)), v128.shuffle<f32>(ba, dc, 2, 3, 6, 7));
}

/**
 * y = x wᵀ + bias, or y += that: x (rows, n), w (m, n), y (rows, m); `bias` is 0 where there is none.
 *
 * Two rows and four outputs at a time: a weight is read once for the two branches of guidance, and eight sums are as
 * many as there are registers for.
 */
export function multiply(x: usize, w: usize, y: usize, n: i32, m: i32, rows: i32, bias: usize, add: i32): void {
  const nb = <usize>n << 2, mb = <usize>m << 2;
  for (let r = 0; r < rows; r += 2) {
    const two = r + 1 < rows;
    const x0 = x + <usize>r * nb, x1 = two ? x0 + nb : x0;  // a last odd row is computed twice
    const y0 = y + <usize>r * mb, y1 = y0 + mb;
    let o = 0;
    for (; o + 4 <= m; o += 4) {
      const w0 = w + <usize>o * nb, w1 = w0 + nb, w2 = w1 + nb, w3 = w2 + nb;
      let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
      for (let i: usize = 0; i < nb; i += 16) {
        const u = v128.load(x0 + i), v = v128.load(x1 + i);
        let q = v128.load(w0 + i);
        a0 = f32x4.add(a0, f32x4.mul(q, u)); b0 = f32x4.add(b0, f32x4.mul(q, v));
        q = v128.load(w1 + i);
        a1 = f32x4.add(a1, f32x4.mul(q, u)); b1 = f32x4.add(b1, f32x4.mul(q, v));
        q = v128.load(w2 + i);
        a2 = f32x4.add(a2, f32x4.mul(q, u)); b2 = f32x4.add(b2, f32x4.mul(q, v));
        q = v128.load(w3 + i);
        a3 = f32x4.add(a3, f32x4.mul(q, u)); b3 = f32x4.add(b3, f32x4.mul(q, v));
      }
      const at = <usize>o << 2;
      let s = sums(a0, a1, a2, a3), t = sums(b0, b1, b2, b3);
      if (bias) { s = f32x4.add(s, v128.load(bias + at)); t = f32x4.add(t, v128.load(bias + at)); }
      v128.store(y0 + at, add ? f32x4.add(v128.load(y0 + at), s) : s);
      if (two) v128.store(y1 + at, add ? f32x4.add(v128.load(y1 + at), t) : t);
    }
    for (; o < m; o++) {  // outputs that are left when m is no multiple of 4
      const w0 = w + <usize>o * nb, at = <usize>o << 2;
      let a = f32x4.splat(0), b = a;
      for (let i: usize = 0; i < nb; i += 16) {
        const q = v128.load(w0 + i);
        a = f32x4.add(a, f32x4.mul(q, v128.load(x0 + i))); b = f32x4.add(b, f32x4.mul(q, v128.load(x1 + i)));
      }
      const c: f32 = bias ? load<f32>(bias + at) : 0;
      store<f32>(y0 + at, sum(a) + c + (add ? load<f32>(y0 + at) : 0));
      if (two) store<f32>(y1 + at, sum(b) + c + (add ? load<f32>(y1 + at) : 0));
    }
  }
}

// A half-precision number whose bits are put where float32 has its own is that number times 2⁻¹¹². Its exponent has room for
// that, so products with numbers that are 2¹¹² times as large are those of the numbers themselves, to the last bit.
const APART: f32 = 5192296858534827628530496329220096.0;  // 2¹¹²
const WIDEST = 4096;
const scaled = memory.data(2 * WIDEST * 4);

@inline function lower(halves: v128): v128 {
  return v128.and(i32x4.shl(i32x4.extend_low_i16x8_s(halves), 13), i32x4.splat(0x8fffe000));
}

@inline function upper(halves: v128): v128 {
  return v128.and(i32x4.shl(i32x4.extend_high_i16x8_s(halves), 13), i32x4.splat(0x8fffe000));
}

/**
 * y = x wᵀ, or y += that, as `multiply` does it, bit for bit, of weights in half precision. |x| < 65536.
 *
 * What takes time is to fetch weights. So they lie in the order of their use (m / 4, n / 8, 4, 8), which a processor
 * fetches ahead: eight of each of four outputs, then the next eight. n is a multiple of 8 and at most 4096.
 */
export function multiplyHalves(x: usize, w: usize, y: usize, n: i32, m: i32, rows: i32, add: i32): void {
  const nb = <usize>n << 2, mb = <usize>m << 2, half = <usize>n << 1, apart = f32x4.splat(APART);
  for (let r = 0; r < rows; r += 2) {
    const two = r + 1 < rows;
    const x0 = scaled, x1 = two ? x0 + nb : x0;
    const from = x + <usize>r * nb;
    for (let i: usize = 0; i < nb << <usize>two; i += 16) v128.store(x0 + i, f32x4.mul(v128.load(from + i), apart));
    const y0 = y + <usize>r * mb, y1 = y0 + mb;
    for (let o = 0; o < m; o += 4) {
      let at = w + <usize>o * half;
      let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
      for (let i: usize = 0; i < nb; i += 32, at += 64) {
        const u = v128.load(x0 + i), v = v128.load(x1 + i), s = v128.load(x0 + i, 16), t = v128.load(x1 + i, 16);
        let h = v128.load(at), q = lower(h);
        a0 = f32x4.add(a0, f32x4.mul(q, u)); b0 = f32x4.add(b0, f32x4.mul(q, v));
        q = upper(h);
        a0 = f32x4.add(a0, f32x4.mul(q, s)); b0 = f32x4.add(b0, f32x4.mul(q, t));
        h = v128.load(at, 16); q = lower(h);
        a1 = f32x4.add(a1, f32x4.mul(q, u)); b1 = f32x4.add(b1, f32x4.mul(q, v));
        q = upper(h);
        a1 = f32x4.add(a1, f32x4.mul(q, s)); b1 = f32x4.add(b1, f32x4.mul(q, t));
        h = v128.load(at, 32); q = lower(h);
        a2 = f32x4.add(a2, f32x4.mul(q, u)); b2 = f32x4.add(b2, f32x4.mul(q, v));
        q = upper(h);
        a2 = f32x4.add(a2, f32x4.mul(q, s)); b2 = f32x4.add(b2, f32x4.mul(q, t));
        h = v128.load(at, 48); q = lower(h);
        a3 = f32x4.add(a3, f32x4.mul(q, u)); b3 = f32x4.add(b3, f32x4.mul(q, v));
        q = upper(h);
        a3 = f32x4.add(a3, f32x4.mul(q, s)); b3 = f32x4.add(b3, f32x4.mul(q, t));
      }
      const out = <usize>o << 2;
      const s = sums(a0, a1, a2, a3);
      v128.store(y0 + out, add ? f32x4.add(v128.load(y0 + out), s) : s);
      if (!two) continue;
      const t = sums(b0, b1, b2, b3);
      v128.store(y1 + out, add ? f32x4.add(v128.load(y1 + out), t) : t);
    }
  }
}

/** Layer normalisation of x (rows, n) into y, with weight g and bias b. */
export function normalise(x: usize, y: usize, g: usize, b: usize, n: i32, rows: i32, epsilon: f32): void {
  const nb = <usize>n << 2;
  for (let r = 0; r < rows; r++) {
    const from = x + <usize>r * nb, to = y + <usize>r * nb;
    let total = f32x4.splat(0);
    for (let i: usize = 0; i < nb; i += 16) total = f32x4.add(total, v128.load(from + i));
    const mean = f32x4.splat(sum(total) / <f32>n);
    let squares = f32x4.splat(0);
    for (let i: usize = 0; i < nb; i += 16) {
      const d = f32x4.sub(v128.load(from + i), mean);
      squares = f32x4.add(squares, f32x4.mul(d, d));
    }
    const scale = f32x4.splat(1 / <f32>Math.sqrt(sum(squares) / <f32>n + epsilon));
    for (let i: usize = 0; i < nb; i += 16) {
      const d = f32x4.mul(f32x4.sub(v128.load(from + i), mean), scale);
      v128.store(to + i, f32x4.add(f32x4.mul(d, v128.load(g + i)), v128.load(b + i)));
    }
  }
}

/** eˣ to some 2 units in the last place: 2ⁿ times a polynomial (Cephes' split of ln 2). */
@inline function exp(given: v128): v128 {
  const x = f32x4.max(f32x4.min(given, f32x4.splat(88)), f32x4.splat(-87));
  const n = f32x4.nearest(f32x4.mul(x, f32x4.splat(1.44269504)));
  let f = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  f = f32x4.sub(f, f32x4.mul(n, f32x4.splat(-2.12194440e-4)));
  let p = f32x4.splat(1.0 / 720);
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(1.0 / 120));
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(1.0 / 24));
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(1.0 / 6));
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(0.5));
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(1));
  p = f32x4.add(f32x4.mul(p, f), f32x4.splat(1));
  return f32x4.mul(p, i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23));
}

/** GELU in place, by the error function (Abramowitz and Stegun 7.1.26, error below 1.5e-7). */
export function gelu(x: usize, n: i32): void {
  const one = f32x4.splat(1), sign = f32x4.splat(-0.0);
  for (let i: usize = 0; i < <usize>n << 2; i += 16) {
    const v = v128.load(x + i);
    const z = f32x4.mul(f32x4.abs(v), f32x4.splat(0.70710678));
    const t = f32x4.div(one, f32x4.add(one, f32x4.mul(z, f32x4.splat(0.3275911))));
    let p = f32x4.splat(1.061405429);
    p = f32x4.add(f32x4.mul(p, t), f32x4.splat(-1.453152027));
    p = f32x4.add(f32x4.mul(p, t), f32x4.splat(1.421413741));
    p = f32x4.add(f32x4.mul(p, t), f32x4.splat(-0.284496736));
    p = f32x4.add(f32x4.mul(p, t), f32x4.splat(0.254829592));
    const erf = f32x4.sub(one, f32x4.mul(f32x4.mul(p, t), exp(f32x4.neg(f32x4.mul(z, z)))));
    const signed = v128.or(erf, v128.and(v, sign));
    v128.store(x + i, f32x4.mul(f32x4.mul(v, f32x4.splat(0.5)), f32x4.add(one, signed)));
  }
}

/** GELU in place, by the hyperbolic tangent, as the codec and the text encoder have it. */
export function geluTanh(x: usize, n: i32): void {
  const one = f32x4.splat(1);
  for (let i: usize = 0; i < <usize>n << 2; i += 16) {
    const v = v128.load(x + i);
    const cubic = f32x4.add(v, f32x4.mul(f32x4.splat(0.044715), f32x4.mul(v, f32x4.mul(v, v))));
    const twice = f32x4.mul(f32x4.splat(1.5957691216), cubic);  // 2 √(2/π): ½(1 + tanh u) = 1 / (1 + e^(−2u))
    v128.store(x + i, f32x4.div(v, f32x4.add(one, exp(f32x4.neg(twice)))));
  }
}

/**
 * Attention of one query (heads, size) to keys and values (heads, room, size), into `out` (heads, size).
 *
 * There is room for more positions than those that are attended to; `scores` has room for these.
 */
export function attend(
  query: usize, keys: usize, values: usize, out: usize, scores: usize,
  heads: i32, size: i32, positions: i32, room: i32,
): void {
  const bytes = <usize>size << 2, scale: f32 = 1 / <f32>Math.sqrt(<f32>size);
  for (let h = 0; h < heads; h++) {
    const head = <usize>h * bytes, q = query + head;
    const ownKeys = keys + head * <usize>room, ownValues = values + head * <usize>room;
    let largest: f32 = -1e30;
    const full = positions & ~3;
    for (let p = 0; p < full; p += 4) {  // four at a time: their sums do not wait for each other
      const k0 = ownKeys + <usize>p * bytes, k1 = k0 + bytes, k2 = k1 + bytes, k3 = k2 + bytes;
      let a = f32x4.splat(0), b = a, c = a, d = a;
      for (let i: usize = 0; i < bytes; i += 16) {
        const u = v128.load(q + i);
        a = f32x4.add(a, f32x4.mul(u, v128.load(k0 + i))); b = f32x4.add(b, f32x4.mul(u, v128.load(k1 + i)));
        c = f32x4.add(c, f32x4.mul(u, v128.load(k2 + i))); d = f32x4.add(d, f32x4.mul(u, v128.load(k3 + i)));
      }
      const four = f32x4.mul(sums(a, b, c, d), f32x4.splat(scale));
      v128.store(scores + (<usize>p << 2), four);
      largest = max(largest, max(
        max(f32x4.extract_lane(four, 0), f32x4.extract_lane(four, 1)),
        max(f32x4.extract_lane(four, 2), f32x4.extract_lane(four, 3)),
      ));
    }
    for (let p = full; p < positions; p++) {
      const key = ownKeys + <usize>p * bytes;
      let a = f32x4.splat(0);
      for (let i: usize = 0; i < bytes; i += 16) a = f32x4.add(a, f32x4.mul(v128.load(q + i), v128.load(key + i)));
      const score = sum(a) * scale;
      store<f32>(scores + (<usize>p << 2), score);
      largest = max(largest, score);
    }
    const most = f32x4.splat(largest);
    let total = f32x4.splat(0);
    for (let p = 0; p < full; p += 4) {
      const at = scores + (<usize>p << 2), e = exp(f32x4.sub(v128.load(at), most));
      v128.store(at, e);
      total = f32x4.add(total, e);
    }
    let whole = sum(total);
    for (let p = full; p < positions; p++) {
      const at = scores + (<usize>p << 2);
      const e = f32x4.extract_lane(exp(f32x4.splat(load<f32>(at) - largest)), 0);
      store<f32>(at, e);
      whole += e;
    }
    const share = f32x4.splat(1 / whole);
    let i: usize = 0;
    for (; i + 64 <= bytes; i += 64) {
      let a = f32x4.splat(0), b = a, c = a, d = a;
      for (let p = 0; p < positions; p++) {
        const value = ownValues + <usize>p * bytes + i, w = v128.load32_splat(scores + (<usize>p << 2));
        a = f32x4.add(a, f32x4.mul(w, v128.load(value))); b = f32x4.add(b, f32x4.mul(w, v128.load(value, 16)));
        c = f32x4.add(c, f32x4.mul(w, v128.load(value, 32))); d = f32x4.add(d, f32x4.mul(w, v128.load(value, 48)));
      }
      const to = out + head + i;
      v128.store(to, f32x4.mul(a, share)); v128.store(to, f32x4.mul(b, share), 16);
      v128.store(to, f32x4.mul(c, share), 32); v128.store(to, f32x4.mul(d, share), 48);
    }
    for (; i < bytes; i += 16) {
      let a = f32x4.splat(0);
      for (let p = 0; p < positions; p++) {
        const value = ownValues + <usize>p * bytes + i;
        a = f32x4.add(a, f32x4.mul(v128.load32_splat(scores + (<usize>p << 2)), v128.load(value)));
      }
      v128.store(out + head + i, f32x4.mul(a, share));
    }
  }
}

/** y += x, over n numbers. */
export function add(x: usize, y: usize, n: i32): void {
  for (let i: usize = 0; i < <usize>n << 2; i += 16) v128.store(y + i, f32x4.add(v128.load(y + i), v128.load(x + i)));
}

/** x += delta, and then, if `keepNorm`, x scaled to the length it had: steering of one state of n numbers. */
export function steer(delta: usize, x: usize, n: i32, keepNorm: i32): void {
  const bytes = <usize>n << 2;
  let before = f32x4.splat(0), after = before;
  for (let i: usize = 0; i < bytes; i += 16) {
    const old = v128.load(x + i), moved = f32x4.add(old, v128.load(delta + i));
    before = f32x4.add(before, f32x4.mul(old, old));
    after = f32x4.add(after, f32x4.mul(moved, moved));
    v128.store(x + i, moved);
  }
  if (!keepNorm) return;
  const norm = max(<f32>Math.sqrt(sum(after)), <f32>1.1754944e-38);  // the smallest normal number
  const scale = f32x4.splat(<f32>Math.sqrt(sum(before)) / norm);
  for (let i: usize = 0; i < bytes; i += 16) v128.store(x + i, f32x4.mul(v128.load(x + i), scale));
}

/** Convolution of each channel with its own 7 taps over time: x, y (rows, n), taps (7, n); zero beyond the ends. */
export function convolve(x: usize, y: usize, taps: usize, n: i32, rows: i32): void {
  const bytes = <usize>n << 2;
  for (let t = 0; t < rows; t++) {
    const first = max(0, 3 - t), last = min(6, rows + 2 - t);
    for (let i: usize = 0; i < bytes; i += 16) {
      let a = f32x4.splat(0);
      for (let j = first; j <= last; j++) {
        const input = v128.load(x + <usize>(t + j - 3) * bytes + i);
        a = f32x4.add(a, f32x4.mul(input, v128.load(taps + <usize>j * bytes + i)));
      }
      v128.store(y + <usize>t * bytes + i, a);
    }
  }
}
