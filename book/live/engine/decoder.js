// The decoder of MusicGen-Melody: blocks over the sequence [melody | prompt | codes], keys and values kept.
//
// A lane is one sequence: the conditional branch of guidance, then, if there is guidance, the unconditional one.
SteerLive.part(function (live) {
  'use strict';

  const EPSILON = 1e-5; // of torch's LayerNorm

  live.Decoder = class {
    constructor(memory, tensors, config, startToken) {
      const c = config.decoder;
      const stack = 'decoder.model.decoder.';
      if (c.activation_function !== 'gelu') throw new Error(`The page has no activation ${c.activation_function}.`);
      this.memory = memory;
      this.startToken = startToken;
      this.depth = c.num_hidden_layers;
      this.hidden = c.hidden_size;
      this.heads = c.num_attention_heads;
      this.inner = c.ffn_dim;
      this.codebooks = c.num_codebooks;
      this.vocabulary = c.vocab_size;
      this.chroma = config.chroma_length;
      this.pitches = config.num_chroma;
      this.positions = c.max_position_embeddings;
      this.blocks = Array.from({ length: this.depth }, (_, n) => {
        const name = `${stack}layers.${n}.`;
        return {
          norm: tensors.norm(name + 'self_attn_layer_norm'),
          qkv: tensors.matrix(...['q', 'k', 'v'].map(each => `${name}self_attn.${each}_proj.weight`)),
          out: tensors.matrix(name + 'self_attn.out_proj.weight'),
          innerNorm: tensors.norm(name + 'final_layer_norm'),
          up: tensors.matrix(name + 'fc1.weight'),
          down: tensors.matrix(name + 'fc2.weight'),
        };
      });
      const books = Array.from({ length: this.codebooks }, (_, k) => k);
      this.norm = tensors.norm(stack + 'layer_norm');
      this.embeddings = books.map(k => tensors.place(`${stack}embed_tokens.${k}.weight`));
      this.toLogits = tensors.matrix(...books.map(k => `decoder.lm_heads.${k}.weight`));
      this.positionTable = memory.put(sinusoids(this.positions, this.hidden));
      this.hears = tensors.has('audio_enc_to_dec_proj.weight') ? tensors.linear('audio_enc_to_dec_proj') : null;
    }

    /** The state that stands for a pitch class at a position of the melody. */
    pitch(note) {
      const { memory, hidden, hears } = this;
      if (!hears) return Float32Array.from({ length: hidden }, (_, i) => (i === note ? 1 : 0));
      const weight = memory.view(hears.weight, hidden * hears.inputs);
      const bias = memory.view(hears.bias, hidden);
      return Float32Array.from({ length: hidden }, (_, i) => weight[i * hears.inputs + note] + bias[i]);
    }

    /** Positions before the first code: melody and prompt. */
    prefix(textLength) {
      return this.chroma + textLength;
    }

    /**
     * Room for a clip of so many frames, and for so many edits of its states at a time.
     *
     * `observed`, directions (depth, hidden) or null, are looked for while the model reads: `readings` then says of the
     * newest position, at each layer, how far its state is along the layer's direction, in lengths of that direction.
     */
    begin(lanes, frames, textLength, edits, observed) {
      const { memory, hidden } = this;
      this.observed = observed;
      this.readings = new Float32Array(this.depth);
      this.lanes = lanes;
      this.allLanes = Array.from({ length: lanes }, (_, lane) => lane);
      this.capacity = this.prefix(textLength) + frames + this.codebooks - 1;
      const rows = Math.max(this.chroma, lanes * (textLength + 1), lanes);
      this.states = memory.reserve(rows * hidden);
      this.normed = memory.reserve(rows * hidden);
      this.qkv = memory.reserve(rows * 3 * hidden);
      this.attended = memory.reserve(rows * hidden);
      this.wide = memory.reserve(rows * this.inner);
      this.scores = memory.reserve(this.capacity);
      this.guided = memory.reserve(hidden);
      this.logits = memory.reserve(this.codebooks * this.vocabulary);
      const cached = this.depth * lanes * this.capacity * hidden;
      this.keys = memory.reserve(cached);
      this.values = memory.reserve(cached);
      this.deltas = Array.from({ length: edits }, () => memory.reserve(this.depth * hidden));
      this.last = new Float32Array(lanes * hidden);
    }

    /** Take the edits of the next passes: one object {attention, residual} of lists for each lane, see `editsOf`. */
    setEdits(lanes) {
      let used = 0;
      const place = edit => this.placed(edit, this.deltas[used++]);
      this.edits = lanes.map(sites => ({
        attention: sites.attention.map(place),
        residual: sites.residual.map(place),
      }));
    }

    /** An edit with its delta at an address, and the blocks at which there is something to add. */
    placed({ delta, keepNorm }, at) {
      this.memory.view(at, delta.length).set(delta);
      const acts = Array.from({ length: this.depth }, (_, block) =>
        delta.subarray(block * this.hidden, (block + 1) * this.hidden).some(value => value !== 0),
      );
      return { at, keepNorm, acts };
    }

    /**
     * Read melody, prompts and the start token. `texts` holds the states (length, hidden) of each lane's prompt.
     *
     * The melody comes first: the first lane's, and none, which is all in the first pitch class, for the others. It is
     * read once if it is the same for all lanes and they are steered alike.
     */
    readPrefix(texts, melody, sameEdits) {
      const { memory, hidden, lanes, chroma } = this;
      const length = texts[0].length / hidden;
      const isShared = sameEdits && !melody;
      for (let lane = 0; lane < (isShared ? 1 : lanes); lane++) {
        const notes = (lane === 0 && melody) || [0];
        const states = memory.view(this.states, chroma * hidden);
        for (let row = 0; row < chroma; row++) states.set(this.pitch(notes[row % notes.length]), row * hidden);
        this.run([lane], chroma, 0);
      }
      if (isShared) this.copyCache();
      texts.forEach((text, lane) => {
        const states = memory.view(this.states + 4 * lane * (length + 1) * hidden, (length + 1) * hidden);
        states.set(text);
        this.embed(new Int32Array(this.codebooks).fill(this.startToken), states.subarray(length * hidden));
      });
      this.run(this.allLanes, length + 1, chroma);
      const normed = memory.view(this.normed, lanes * (length + 1) * hidden);
      for (let lane = 0; lane < lanes; lane++) {
        this.last.set(
          normed.subarray((lane * (length + 1) + length) * hidden, (lane + 1) * (length + 1) * hidden),
          lane * hidden,
        );
      }
      this.at = chroma + length + 1;
    }

    /** The first lane's keys and values, for the other lanes. */
    copyCache() {
      const { hidden, capacity, lanes, depth } = this;
      const each = capacity * hidden;
      for (const address of [this.keys, this.values]) {
        const all = this.memory.view(address, depth * lanes * each);
        for (let block = 0; block < depth; block++) {
          for (let lane = 1; lane < lanes; lane++) {
            const from = block * lanes * each;
            all.copyWithin(from + lane * each, from, from + each);
          }
        }
      }
    }

    /** Read the tokens of one position (one for each codebook), which are the same for all lanes. */
    step(tokens) {
      const { memory, hidden, lanes } = this;
      const states = memory.view(this.states, lanes * hidden);
      this.embed(tokens, states.subarray(0, hidden));
      for (let lane = 1; lane < lanes; lane++) states.copyWithin(lane * hidden, 0, hidden);
      this.run(this.allLanes, 1, this.at);
      this.last.set(memory.view(this.normed, lanes * hidden));
      this.at++;
    }

    /** The sum of the embeddings of one token for each codebook, into `out`. */
    embed(tokens, out) {
      const { hidden } = this;
      out.fill(0);
      this.embeddings.forEach((table, k) => {
        const embedding = this.memory.view(table + 4 * tokens[k] * hidden, hidden);
        for (let i = 0; i < hidden; i++) out[i] += embedding[i];
      });
    }

    /** Logits (codebooks, vocabulary) of the next tokens. Guidance is linear and so are the heads: states are guided. */
    predict(scale) {
      const { memory, hidden, last, lanes } = this;
      const guided = memory.view(this.guided, hidden);
      for (let i = 0; i < hidden; i++) {
        const conditional = last[i];
        const other = last[hidden + i];
        guided[i] = lanes === 1 ? conditional : other + Math.fround(Math.fround(conditional - other) * scale);
      }
      this.toLogits.times(this.guided, this.logits, 1);
      return memory.view(this.logits, this.codebooks * this.vocabulary);
    }

    /**
     * All blocks over the next `count` positions of some lanes, from position `at` on. The states (lanes, count, hidden)
     * lie at `this.states`, without their position; the normalised ones are left at `this.normed`.
     */
    run(lanes, count, at) {
      const { memory, hidden, inner, states, normed, qkv, attended, wide } = this;
      const { kernel } = memory;
      const rows = lanes.length * count;
      const row = 4 * hidden;
      for (let i = 0; i < rows; i++)
        kernel.add(this.positionTable + (at + (i % count)) * row, states + i * row, hidden);
      this.blocks.forEach((block, k) => {
        kernel.normalise(states, normed, block.norm.weight, block.norm.bias, hidden, rows, EPSILON);
        block.qkv.times(normed, qkv, rows);
        lanes.forEach((lane, i) => this.attend(k, lane, i * count, count, at));
        if (lanes.some(lane => this.edits[lane].attention.length)) {
          block.out.times(attended, normed, rows);
          this.steer('attention', k, lanes, count, normed);
          kernel.add(normed, states, rows * hidden);
        } else block.out.times(attended, states, rows, true);
        kernel.normalise(states, normed, block.innerNorm.weight, block.innerNorm.bias, hidden, rows, EPSILON);
        block.up.times(normed, wide, rows);
        kernel.gelu(wide, rows * inner);
        block.down.times(wide, states, rows, true);
        this.steer('residual', k, lanes, count, states);
        if (this.observed && lanes[0] === 0) this.readings[k] = this.read(k, states + (count - 1) * row);
      });
      kernel.normalise(states, normed, this.norm.weight, this.norm.bias, hidden, rows, EPSILON);
    }

    /** Keep keys and values of `count` positions of a lane, whose rows begin at `first`, and attend from each of them. */
    attend(block, lane, first, count, at) {
      const { memory, hidden, heads } = this;
      const row = 4 * hidden;
      const size = hidden / heads;
      const cache = 4 * (block * this.lanes + lane) * this.capacity * hidden;
      const keys = this.keys + cache;
      const values = this.values + cache;
      const floats = memory.view(0, memory.top >> 2);
      for (let i = 0; i < count; i++) {
        const key = (this.qkv >> 2) + (first + i) * 3 * hidden + hidden;
        for (let head = 0; head < heads; head++) {
          const to = (head * this.capacity + at + i) * size;
          const from = key + head * size;
          floats.copyWithin((keys >> 2) + to, from, from + size);
          floats.copyWithin((values >> 2) + to, from + hidden, from + hidden + size);
        }
      }
      for (let i = 0; i < count; i++) {
        const query = this.qkv + 3 * (first + i) * row;
        const out = this.attended + (first + i) * row;
        memory.kernel.attend(query, keys, values, out, this.scores, heads, size, at + i + 1, this.capacity);
      }
    }

    /** How far a state is along the observed direction of a layer: 1 is the whole distance between the two poles. */
    read(layer, state) {
      const { hidden } = this;
      const direction = this.observed.subarray(layer * hidden, (layer + 1) * hidden);
      const values = this.memory.view(state, hidden);
      let along = 0;
      let square = 0;
      for (let i = 0; i < hidden; i++) {
        along += values[i] * direction[i];
        square += direction[i] * direction[i];
      }
      return square ? along / square : 0;
    }

    steer(site, block, lanes, count, states) {
      const { hidden, memory } = this;
      lanes.forEach((lane, i) => {
        for (const { at, keepNorm, acts } of this.edits[lane][site]) {
          if (!acts[block]) continue;
          for (let row = i * count; row < (i + 1) * count; row++) {
            memory.kernel.steer(at + 4 * block * hidden, states + 4 * row * hidden, hidden, keepNorm ? 1 : 0);
          }
        }
      });
    }
  };

  /** Cosines, then sines, of each position at frequencies that fall from 1 to 1/10000; rounded where torch rounds. */
  function sinusoids(positions, hidden) {
    const half = hidden / 2;
    const table = new Float32Array(positions * hidden);
    const slope = Math.fround(-Math.log(10000) / (half - 1));
    for (let i = 0; i < half; i++) {
      const frequency = Math.fround(Math.exp(Math.fround(i * slope)));
      for (let position = 0; position < positions; position++) {
        const angle = Math.fround(position * frequency);
        table[position * hidden + i] = Math.cos(angle);
        table[position * hidden + half + i] = Math.sin(angle);
      }
    }
    return table;
  }
});
