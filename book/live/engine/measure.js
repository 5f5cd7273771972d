// What a clip measures, by the definitions of steerlib/measure (and of librosa, which it uses): tempo by rule, brightness,
// onsets and level; and a mel spectrogram to look at. All of it expects sound at 16000 Hz, as the library measures it.
SteerLive.part(function (live) {
  'use strict';

  const WINDOW = 2048;
  const SILENCE = 1e-4; // peak, full scale 1
  const transforms = new Map();

  const isSilent = samples => !samples.some(x => Math.abs(x) >= SILENCE);

  /** Go through the spectra of a sound: magnitudes of frames that are centred on multiples of `hop` samples. */
  function forEachSpectrum(samples, hop, window, see) {
    if (!transforms.has(window)) transforms.set(window, [new live.Fourier(window), live.hann(window)]);
    const [fourier, hann] = transforms.get(window);
    const frames = framesOf(samples, hop);
    const magnitudes = new Float32Array(window / 2 + 1);
    const padded = new Float32Array(samples.length + 2 * window);
    const re = new Float64Array(window);
    const im = new Float64Array(window);
    padded.set(samples, window / 2);
    for (let frame = 0; frame < frames; frame++) {
      for (let i = 0; i < window; i++) re[i] = padded[frame * hop + i] * hann[i];
      im.fill(0);
      fourier.forward(re, im);
      for (let k = 0; k < magnitudes.length; k++) magnitudes[k] = Math.hypot(re[k], im[k]);
      see(magnitudes, frame);
    }
  }

  const framesOf = (samples, hop) => 1 + Math.floor(samples.length / hop);

  /** Spectral centroid in Hz: weighted by magnitude within a frame, by energy over frames. NaN for silence. */
  live.brightnessOf = function (samples, sampleRate) {
    if (isSilent(samples)) return NaN;
    let weighted = 0;
    let total = 0;
    forEachSpectrum(samples, 512, WINDOW, magnitudes => {
      let sum = 0;
      let moment = 0;
      let energy = 0;
      magnitudes.forEach((magnitude, k) => {
        sum += magnitude;
        moment += magnitude * k;
        energy += magnitude * magnitude;
      });
      if (sum > 0) weighted += (energy * moment) / sum;
      total += energy;
    });
    return ((weighted / total) * sampleRate) / WINDOW;
  };

  /** Level in dB re full scale, of the mean square. NaN for silence. */
  live.levelOf = samples =>
    isSilent(samples) ? NaN : 10 * Math.log10(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);

  const toMel = hertz => (hertz < 1000 ? (3 * hertz) / 200 : 15 + (27 * Math.log(hertz / 1000)) / Math.log(6.4)); // Slaney's scale
  const toHertz = mel => (mel < 15 ? (200 * mel) / 3 : 1000 * Math.exp(((mel - 15) * Math.log(6.4)) / 27));

  /** Power in mel bands, (frames, bands): triangles of equal area. */
  function melPower(samples, sampleRate, { hop, bands, window = WINDOW }) {
    const edges = Array.from({ length: bands + 2 }, (_, i) => toHertz((i * toMel(sampleRate / 2)) / (bands + 1)));
    const filters = Array.from({ length: bands }, (_, band) => {
      const [low, middle, high] = edges.slice(band, band + 3);
      const first = Math.ceil((low * window) / sampleRate);
      const last = Math.min(window / 2, Math.floor((high * window) / sampleRate));
      const weights = Float64Array.from({ length: last - first + 1 }, (_, i) => {
        const hertz = ((first + i) * sampleRate) / window;
        return Math.max(0, Math.min((hertz - low) / (middle - low), (high - hertz) / (high - middle))) / (high - low);
      });
      return { first, weights };
    });
    const power = new Float32Array(framesOf(samples, hop) * bands);
    forEachSpectrum(samples, hop, window, (magnitudes, frame) => {
      filters.forEach(({ first, weights }, band) => {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * magnitudes[first + i] ** 2;
        power[frame * bands + band] = 2 * sum;
      });
    });
    return power;
  }

  /** Decibels, none further than `depth` below the largest. */
  function decibels(power, depth) {
    const made = power.map(value => 10 * Math.log10(Math.max(value, 1e-10)));
    const floor = made.reduce((a, b) => Math.max(a, b), -Infinity) - depth;
    return made.map(value => Math.max(value, floor));
  }

  /** Mel spectrogram in dB below its largest value: {values (frames, bands), frames, bands}. */
  live.melSpectrogram = function (samples, sampleRate, { hop = 400, bands = 64, depth = 80 } = {}) {
    const frames = framesOf(samples, hop);
    const values = decibels(melPower(samples, sampleRate, { hop, bands }), depth);
    const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
    return { values: values.map(value => value - largest), frames, bands, depth };
  };

  /** Strength of onsets, a number each hop: how much the mel bands rise on average, in dB. */
  function onsetStrength(samples, sampleRate, shape) {
    const { bands, hop, window = WINDOW } = shape;
    const frames = framesOf(samples, hop);
    const levels = decibels(melPower(samples, sampleRate, shape), 80);
    const shift = Math.floor(window / (2 * hop));
    const flux = new Float64Array(frames);
    for (let frame = 1; frame + shift < frames; frame++) {
      let sum = 0;
      for (let band = 0; band < bands; band++) {
        sum += Math.max(0, levels[frame * bands + band] - levels[(frame - 1) * bands + band]);
      }
      flux[frame + shift] = sum / bands;
    }
    return flux;
  }

  /** Note onsets per second: peaks of the spectral flux, picked as librosa picks them. */
  live.onsetsOf = function (samples, sampleRate) {
    const hop = 256;
    const flux = onsetStrength(samples, sampleRate, { hop, bands: 128 });
    const frames = flux.length;
    const most = flux.reduce((a, b) => Math.max(a, b));
    if (!(most > 0) || isSilent(samples)) return 0;
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

  const PULSE = { hop: 160, bands: 40, window: 1024 };
  const TEMPI = Array.from({ length: 241 }, (_, i) => 50 * 4 ** (i / 240)); // BPM, 50 to 200
  const ALIKE = 0.95; // share of the best score: of the tempi that fit alike, the fastest is the pulse

  /**
   * Tempo by a comb over the autocorrelation of onset strength, as `steerlib.measure.rules.pulse` has it. NaN: cannot tell,
   * for there are no onsets, or a half of the clip differs by more than `steady` from the whole, up to octaves.
   */
  live.tempoOf = function (samples, sampleRate, steady = 0.04) {
    if (isSilent(samples)) return NaN;
    const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const strength = onsetStrength(
      samples.map(x => x / peak),
      sampleRate,
      PULSE,
    );
    const rate = sampleRate / PULSE.hop;
    const whole = comb(strength, rate);
    const half = strength.length >> 1;
    const isSteady = [strength.subarray(0, half), strength.subarray(half)].every(part => {
      const octaves = Math.log2(comb(part, rate) / whole);
      return Math.abs(octaves - Math.round(octaves)) <= Math.log2(1 + steady);
    });
    return isSteady ? whole : NaN;
  };

  /** The tempo in BPM whose first eight multiples of the period have the highest mean autocorrelation. */
  function comb(strength, rate) {
    const size = strength.length;
    const mean = strength.reduce((a, b) => a + b, 0) / size;
    const centred = strength.map(value => value - mean);
    const correlation = Float64Array.from({ length: size }, (_, lag) => {
      let sum = 0;
      for (let i = lag; i < size; i++) sum += centred[i] * centred[i - lag];
      return sum / (size - lag);
    });
    if (!(correlation[0] > 0)) return NaN;
    const scores = TEMPI.map(tempo => {
      let sum = 0;
      let count = 0;
      for (let times = 1; times <= 8; times++) {
        const lag = (times * 60 * rate) / tempo;
        if (lag >= 0.75 * size) break;
        const before = Math.floor(lag);
        sum += correlation[before] + (lag - before) * (correlation[before + 1] - correlation[before]);
        count++;
      }
      return count ? sum / count : -Infinity;
    });
    const enough = ALIKE * Math.max(...scores);
    return TEMPI[scores.findLastIndex(score => score >= enough)];
  }
});
