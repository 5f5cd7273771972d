// What one takes away: a link that holds the question, a WAV of the answer, and a JSON from which the library makes it too.
(function (play) {
  'use strict';

  /** A WAV file (16 bits, mono) of samples. */
  play.wav = function (samples, sampleRate) {
    const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
    const text = (at, word) => [...word].forEach((letter, i) => bytes.setUint8(at + i, letter.charCodeAt(0)));
    text(0, 'RIFF');
    bytes.setUint32(4, 36 + 2 * samples.length, true);
    text(8, 'WAVEfmt ');
    bytes.setUint32(16, 16, true);
    bytes.setUint16(20, 1, true);
    bytes.setUint16(22, 1, true);
    bytes.setUint32(24, sampleRate, true);
    bytes.setUint32(28, 2 * sampleRate, true);
    bytes.setUint16(32, 2, true);
    bytes.setUint16(34, 16, true);
    text(36, 'data');
    bytes.setUint32(40, 2 * samples.length, true);
    samples.forEach((sample, i) =>
      bytes.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true),
    );
    return bytes.buffer;
  };

  const SCALE = { C: 0, D: 2, E: 4, F: 5, G: 7, A: 9, B: 11 };

  /** Pitch classes of notes as text ("C F# Bb"), spread evenly over `length` positions; null for none. */
  play.melodyOf = function (text, length) {
    const notes = text.split(/[\s,]+/).filter(Boolean);
    const pitches = notes.map(note => {
      const found = /^([A-Ga-g])([#♯b♭]?)$/.exec(note);
      if (!found)
        throw new SteerLive.BadInput(`“${note}” is not a note: write a tune as letters from A to G, with # or b, and blanks.`);
      const [, name, sign] = found;
      return (SCALE[name.toUpperCase()] + { '': 0, '#': 1, '♯': 1, b: 11, '♭': 11 }[sign]) % 12;
    });
    if (pitches.length > length) throw new SteerLive.BadInput(`A tune has ${length} notes at most.`);
    return pitches.length ? Array.from({ length }, (_, i) => pitches[Math.floor((i * pitches.length) / length)]) : null;
  };

  /** What `steerlib steer --from` reads: the request of a clip, with the directions themselves. */
  play.recipe = function (request, vectors, model, kind, layerCount) {
    return {
      format: 'steerlib.clip/1',
      model: model.model,
      weights: model.weights,
      exact: kind === 'fp16',
      prompt: request.prompt,
      seed: request.seed,
      seconds: request.seconds,
      guidance_scale: request.guidanceScale,
      temperature: request.temperature,
      top_k: request.topK,
      do_sample: request.doSample,
      melody: request.melody,
      steering: request.steering.map(
        ({ vector, multiplier, sourceLayer, layers, steps, branches, site, preserveNorm, schedule }) => {
          const { positive, negative, directions } = vectors(vector);
          return {
            name: vector,
            positive,
            negative,
            multiplier,
            source_layer: sourceLayer,
            layers,
            steps,
            branches,
            site,
            preserve_norm: preserveNorm,
            schedule: schedule || null,
            num_layers: layerCount,
            directions: SteerLive.toBase64(
              new Uint8Array(directions.buffer, directions.byteOffset, directions.byteLength),
            ),
          };
        },
      ),
    };
  };

  /** Form fields that a link holds, by their name in it. */
  const FIELDS = {
    prompt: 'lp-prompt',
    seed: 'lp-seed',
    seconds: 'lp-seconds',
    layer: 'lp-layer',
    steps: 'lp-steps',
    branches: 'lp-branches',
    site: 'lp-site',
    guidance: 'lp-guidance',
    temperature: 'lp-temperature',
    topk: 'lp-topk',
    tune: 'lp-tune',
  };
  const CHECKS = { greedy: 'lp-greedy', norm: 'lp-norm' };

  /** The question as the hash of a link; only what differs from the page's defaults. */
  play.hashOf = function (attributes, curve, blocks, defaults) {
    const parts = new URLSearchParams();
    for (const [name, id] of Object.entries(FIELDS)) {
      const { value } = play.one(id);
      if (value !== defaults[name] || name === 'prompt' || name === 'seed') parts.set(name, value);
    }
    for (const [name, id] of Object.entries(CHECKS)) if (play.one(id).checked) parts.set(name, '1');
    for (const [name, value] of attributes.entries()) {
      if (attributes.vector(name).kind !== 'own') parts.set(`lambda.${name}`, String(value));
    }
    if (blocks) parts.set('blocks', blocks.join(','));
    if (curve.attribute)
      parts.set('curve', [curve.attribute, ...curve.values.map(value => +value.toFixed(4))].join(','));
    return '#' + parts.toString();
  };

  /** Read a hash into the page; what it does not name, or names wrongly, is left as it is. */
  play.readHash = function (hash, attributes, curve, setBlocks) {
    const parts = new URLSearchParams(hash.slice(1));
    if (!parts.has('prompt')) return false;
    for (const [name, id] of Object.entries(FIELDS)) {
      const field = play.one(id);
      const value = parts.get(name);
      if (value === null) continue;
      if (field.tagName !== 'SELECT' || [...field.options].some(option => option.value === value)) field.value = value;
    }
    for (const [name, id] of Object.entries(CHECKS)) play.one(id).checked = parts.get(name) === '1';
    for (const name of attributes.rows.keys()) attributes.set(name, Number(parts.get(`lambda.${name}`)) || 0);
    setBlocks(parts.has('blocks') ? parts.get('blocks').split(',').map(Number) : null);
    const [attribute, ...values] = (parts.get('curve') || '').split(',');
    curve.set(attribute, values.map(Number));
    return true;
  };

  /** The values of the page's fields, to know what differs from them. */
  play.fieldDefaults = () => Object.fromEntries(Object.entries(FIELDS).map(([name, id]) => [name, play.one(id).value]));
})(SteerPlay);
