// The loop that writes a clip: prefix, then one position after the other in MusicGen's delay pattern, where codebook k
// is k positions behind the first. As in steerlib/engine/decode.py.
SteerLive.part(function (live) {
  'use strict';

  const DEFAULTS = {
    seed: 0,
    seconds: 8,
    steering: [],
    observe: null,
    melody: null,
    guidanceScale: 3,
    temperature: 1,
    topK: 250,
    doSample: true,
  };

  /** A model without its weights, which `receive` takes. */
  live.Model = class {
    /**
     * @param {object} header  what the weights' file says: config, generation, tokenizer, vocabulary, tensors, ...
     * @param {WebAssembly.Exports} kernel
     */
    constructor(header, kernel) {
      const { config } = header;
      if (config.model_type !== 'musicgen_melody' || config.decoder.audio_channels !== 1) {
        throw new Error('The page runs mono models of the kind MusicGen-Melody only.');
      }
      this.memory = new live.Memory(kernel);
      const tensors = new live.Tensors(this.memory, header.tensors);
      this.tensors = tensors;
      const ids = header.generation;
      this.tokenizer = new live.Tokenizer(header.tokenizer, header.textLength);
      this.text = new live.TextEncoder(this.memory, tensors, config);
      this.decoder = new live.Decoder(this.memory, tensors, config, ids.decoder_start_token_id ?? ids.bos_token_id);
      this.codec = new live.Codec(this.memory, tensors, config);
      this.sampleRate = config.audio_encoder.sampling_rate;
      this.frameRate = Math.ceil(this.sampleRate / this.codec.samplesPerFrame);
      this.floor = this.memory.top; // what lies below stays
    }

    /** Take a piece of the weights, the bytes from `from` on. */
    receive(bytes, from) {
      this.tensors.receive(bytes, from);
    }

    /** Seconds that the model has positions for. */
    get longest() {
      const { decoder } = this;
      return (decoder.positions - decoder.prefix(this.tokenizer.length) - decoder.codebooks + 1) / this.frameRate;
    }

    /** The sound of a clip that is written; what was kept to write it makes room. */
    sound(codes) {
      this.memory.release(this.floor);
      return this.codec.decode(codes);
    }

    /** A request with all its fields, or an error that says what is wrong with it. */
    check(request) {
      const asked = { ...DEFAULTS, ...request };
      const { depth, hidden } = this.decoder;
      if (typeof asked.prompt !== 'string') throw new live.BadInput('A clip needs a prompt.');
      if (!Number.isSafeInteger(asked.seed)) throw new live.BadInput(`A seed is a whole number, not “${asked.seed}”.`);
      const frames = roundHalfToEven(asked.seconds * this.frameRate);
      if (!(frames >= 1))
        throw new live.BadInput(`A clip lasts at least ${1 / this.frameRate} s; not ${asked.seconds} s.`);
      if (asked.seconds * this.frameRate > this.longest * this.frameRate + 0.5) {
        throw new live.BadInput(
          `This model has room for ${this.longest.toFixed(1)} s at most, not for ${asked.seconds} s.`,
        );
      }
      for (const [name, value] of [
        ['Guidance', asked.guidanceScale],
        ['Temperature', asked.temperature],
      ]) {
        if (!(value > 0 && value < Infinity))
          throw new live.BadInput(`${name} must be a positive number, not “${value}”.`);
      }
      if (asked.topK !== null && !(Number.isInteger(asked.topK) && asked.topK >= 1)) {
        throw new live.BadInput(`Top k must be a whole number from 1, not “${asked.topK}”.`);
      }
      const { chroma, pitches } = this.decoder;
      const isPitch = note => Number.isInteger(note) && note >= 0 && note < pitches;
      if (asked.melody !== null && !(asked.melody.length && [...asked.melody].every(isPitch))) {
        throw new live.BadInput(
          `A melody is a list of pitch classes from 0 to ${pitches - 1}, of which the model reads ${chroma}.`,
        );
      }
      const branches = asked.guidanceScale > 1 ? ['conditional', 'unconditional'] : ['conditional'];
      const steering = asked.steering.map(each => live.checkSteering(each, depth, hidden, branches.length));
      if (asked.observe) live.checkSteering({ directions: asked.observe }, depth, hidden, branches.length);
      return { ...asked, frames, branches, steering, text: this.tokenizer.encode(asked.prompt) };
    }

    /**
     * Write a clip. Yields after each position {position, positions, frame, entropy, readings, codes}, where `codes` are
     * the codebooks' tokens so far, `frame` is how many frames of them are complete, and `readings` are those of the
     * decoder if there are directions to `observe`.
     *
     * A schedule is read when its frame is written, so that whoever drives the loop may write it as the music goes.
     */
    *write(request) {
      const asked = this.check(request);
      const { decoder, memory } = this;
      const { frames, branches, steering } = asked;
      const { codebooks } = decoder;
      const positions = frames + codebooks;
      memory.release(this.floor);
      const prompt = this.text.run(asked.text);
      const nothing = new Float32Array(prompt.length);
      const keys = asked.doSample ? live.noiseKeys(asked.prompt, asked.seed, positions, codebooks) : null;
      decoder.begin(
        branches.length,
        frames,
        this.tokenizer.length,
        2 * branches.length * steering.length,
        asked.observe,
      );

      const edit = (position, isPrefix) => {
        const of = (branch, site) =>
          live.editsOf(steering, { branch, site, isPrefix, frame: position, depth: decoder.depth });
        decoder.setEdits(
          branches.map(branch => ({ attention: of(branch, 'attention'), residual: of(branch, 'residual') })),
        );
      };
      edit(0, true);
      decoder.readPrefix(
        branches.map((_, lane) => (lane ? nothing : prompt)),
        asked.melody,
        steering.every(each => each.branches === 'both'),
      );
      edit(0, false);

      const isScheduled = steering.some(each => each.schedule);
      const codes = Array.from({ length: codebooks }, () => new Int16Array(frames));
      const tokens = new Int32Array(codebooks);
      for (let position = 1; position < positions; position++) {
        const logits = decoder.predict(asked.guidanceScale);
        const entropy = live.entropyOf(logits, decoder.vocabulary, asked.temperature);
        const at = keys && keys.subarray(2 * position * codebooks, 2 * (position + 1) * codebooks);
        live.chooseTokens(logits, codebooks, at, asked).forEach((token, k) => {
          const frame = position - 1 - k;
          const isCode = frame >= 0 && frame < frames;
          tokens[k] = isCode ? token : decoder.startToken;
          if (isCode) codes[k][frame] = token;
        });
        yield {
          position,
          positions: positions - 1,
          frame: Math.max(0, position - codebooks + 1),
          entropy,
          readings: decoder.readings,
          codes,
        };
        if (position === positions - 1) break;
        // The pass over this position chooses the next one's tokens; the newest of them is of the frame of this number.
        if (isScheduled) edit(position, false);
        decoder.step(tokens);
      }
    }
  };

  /** As Python rounds. */
  function roundHalfToEven(value) {
    const near = Math.round(value);
    return Math.abs(value % 1) === 0.5 && near % 2 ? near - 1 : near;
  }
});
