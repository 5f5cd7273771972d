// How tokens are chosen, by the rule of steerlib/engine/sampling.py: the largest logit plus Gumbel noise, among the top k. The
// noise is a hash of (prompt, seed, position, codebook, token), rounded to float32 wherever the library rounds.
SteerLive.part(function (live) {
  'use strict';

  const round = Math.fround;

  /** Mix 32 bits (Wellons' lowbias32 with a key at its end). */
  function mix(bits, key) {
    bits ^= bits >>> 16;
    bits = Math.imul(bits, 0x7feb352d);
    bits ^= bits >>> 15;
    bits = Math.imul(bits, 0x31848bab);
    return bits ^ (bits >>> 16) ^ key;
  }

  function gumbel(token, first, second) {
    const bits = mix(mix((Math.imul(token, 0x1e35a7bd) + first) | 0, second), first);
    const uniform = round(round((bits >>> 9) + 0.5) * 2 ** -23);
    return round(-round(Math.log(-round(Math.log(uniform)))));
  }

  /**
   * One token for each codebook.
   *
   * @param {Float32Array} logits  (codebooks, vocabulary)
   * @param {Uint32Array|null} keys  two for each codebook, of `noiseKeys`; null chooses the most probable token
   * @param {{temperature: number, topK: number|null}} sampling
   */
  live.chooseTokens = function (logits, codebooks, keys, sampling) {
    const vocabulary = logits.length / codebooks;
    const noisy = new Float32Array(vocabulary);
    return Int32Array.from({ length: codebooks }, (_, k) => {
      const scores = logits.subarray(k * vocabulary, (k + 1) * vocabulary);
      if (scores.some(Number.isNaN)) {
        throw new live.BadInput('The model’s numbers overflow: steer less.');
      }
      if (!keys) return scores.indexOf(scores.reduce((a, b) => Math.max(a, b)));
      for (let token = 0; token < vocabulary; token++) {
        const scaled = round(scores[token] / sampling.temperature);
        noisy[token] = scaled + gumbel(token, keys[2 * k], keys[2 * k + 1]);
      }
      return bestOfTop(scores, noisy, Math.min(sampling.topK || vocabulary, vocabulary));
    });
  };

  /** The token of the largest noisy score that is among the top k; a winner that is not is out, with all below it. */
  function bestOfTop(scores, noisy, topK) {
    let floor = -Infinity;
    for (;;) {
      let best = -1;
      let above = 0;
      for (let token = 0; token < scores.length; token++) {
        if (scores[token] > floor && (best < 0 || noisy[token] > noisy[best])) best = token;
      }
      for (let token = 0; token < scores.length; token++) if (scores[token] > scores[best]) above++;
      if (above < topK) return best;
      floor = scores[best];
    }
  }

  /** How undecided a choice is: the entropy of the probabilities of one codebook's next token, in bits. */
  live.entropyOf = function (logits, vocabulary, temperature) {
    let largest = -Infinity;
    let total = 0;
    let weighted = 0;
    for (let i = 0; i < vocabulary; i++) largest = Math.max(largest, logits[i]);
    for (let i = 0; i < vocabulary; i++) {
      const x = (logits[i] - largest) / temperature;
      const weight = Math.exp(x);
      total += weight;
      weighted += weight * x;
    }
    return (Math.log(total) - weighted / total) / Math.LN2;
  };
});
