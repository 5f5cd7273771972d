// What is added to the model's states while it writes, by the rules of steerlib/steering.py.
//
// A steering is an object with the fields of `steerlib.Steering`, in JavaScript's spelling:
//   directions     Float32Array (layers, hidden): the vector
//   multiplier     λ, 1 if left out
//   sourceLayer    One-to-All: the direction of this layer for every block; null for All-to-All
//   layers         the blocks to steer; null for all
//   steps          "all", or "first": in the pass over the prompt only
//   branches       "both", "conditional" or "unconditional" rows of guidance
//   site           "residual" or "attention": the output of a block, or of its self-attention
//   preserveNorm   scale each state back to the length it had
//   positions      "all": the page steers every position, or says that it cannot
//   schedule       a factor of λ for each frame of the clip; the last one goes on. None: 1 throughout
SteerLive.part(function (live) {
  'use strict';

  const CHOICES = {
    steps: ['all', 'first'],
    branches: ['both', 'conditional', 'unconditional'],
    site: ['residual', 'attention'],
    positions: ['all'],
  };

  /** A steering with all its fields, or an error that says what is wrong with it. */
  live.checkSteering = function (given, depth, hidden, branches) {
    const steering = {
      multiplier: 1,
      sourceLayer: null,
      layers: null,
      steps: 'all',
      branches: 'both',
      site: 'residual',
      preserveNorm: false,
      schedule: null,
      positions: 'all',
      ...given,
    };
    const { directions, multiplier, sourceLayer, layers, schedule } = steering;
    if (!directions || directions.length !== depth * hidden) {
      const size = directions ? `${directions.length} numbers` : 'none';
      throw new live.BadInput(
        `This vector does not fit the model, which has ${depth} layers of ${hidden} numbers; the vector has ${size}. ` +
          'Take a vector from this model.',
      );
    }
    if (!directions.every(Number.isFinite))
      throw new live.BadInput('This vector holds numbers that are not finite: make it again.');
    if (!Number.isFinite(multiplier)) throw new live.BadInput(`λ must be a finite number, not ${multiplier}.`);
    const isLayer = layer => Number.isInteger(layer) && layer >= 0 && layer < depth;
    if (sourceLayer !== null && !isLayer(sourceLayer)) {
      throw new live.BadInput(`There is no layer ${sourceLayer}: the model's layers are 0 to ${depth - 1}.`);
    }
    if (layers !== null && (!layers.length || new Set(layers).size < layers.length || !layers.every(isLayer))) {
      throw new live.BadInput(`Choose different blocks, at least one, from 0 to ${depth - 1}; not “${layers}”.`);
    }
    for (const [name, allowed] of Object.entries(CHOICES)) {
      if (!allowed.includes(steering[name])) {
        throw new live.BadInput(`${name} must be one of ${allowed.join(', ')}, not “${steering[name]}”.`);
      }
    }
    if (steering.branches === 'unconditional' && branches === 1) {
      throw new live.BadInput(
        'Without guidance there is no unconditional branch to steer: raise the guidance above 1.',
      );
    }
    if (schedule !== null && (!schedule.length || ![...schedule].every(Number.isFinite))) {
      throw new live.BadInput('A schedule needs a finite factor for each frame, at least one.');
    }
    return steering;
  };

  /** The multiplier at a frame. This one function says what a schedule means. */
  live.multiplierAt = function (steering, frame) {
    const { multiplier, schedule } = steering;
    return schedule ? multiplier * schedule[Math.min(frame, schedule.length - 1)] : multiplier;
  };

  /** What a steering adds at a frame, (depth, hidden), or null where that is nothing. */
  function deltas(steering, frame, depth) {
    const { directions, sourceLayer, layers } = steering;
    const hidden = directions.length / depth;
    const multiplier = Math.fround(live.multiplierAt(steering, frame));
    if (multiplier === 0) return null;
    const made = new Float32Array(directions.length);
    for (let block = 0; block < depth; block++) {
      if (layers !== null && !layers.includes(block)) continue;
      const from = (sourceLayer === null ? block : sourceLayer) * hidden;
      for (let i = 0; i < hidden; i++) made[block * hidden + i] = directions[from + i] * multiplier;
    }
    return made;
  }

  /**
   * The edits of one branch at one site in the pass that writes a frame: a list of {delta, keepNorm}.
   *
   * Edits that follow each other are added up unless one keeps the norm: then their order matters.
   */
  live.editsOf = function (steerings, { branch, site, isPrefix, frame, depth }) {
    const edits = [];
    for (const each of steerings) {
      if (each.site !== site || (each.steps === 'first' && !isPrefix)) continue;
      if (each.branches !== 'both' && each.branches !== branch) continue;
      const delta = deltas(each, frame, depth);
      const last = edits[edits.length - 1];
      if (!delta) continue;
      if (last && !last.keepNorm && !each.preserveNorm) last.delta = last.delta.map((value, i) => value + delta[i]);
      else edits.push({ delta, keepNorm: each.preserveNorm });
    }
    return edits;
  };
});
