// The codec's decoder: codes to a spectrogram by a small convolutional network, and that to sound by the vocoder.
SteerLive.part(function (live) {
  'use strict';

  const EPSILON = 1e-5;
  const TAPS = 3; // of a convolution, on each side of the middle

  const CHUNK = 6; // code frames of sound made at a time
  const FORESIGHT = 6; // code frames after a chunk that it waits for; `reach` would be exact, and late
  const AROUND = 8; // spectrogram frames on each side that the phases are smoothed with

  live.Codec = class {
    constructor(memory, tensors, config) {
      const c = config.audio_encoder;
      const name = 'audio_encoder.';
      const depth = Array.from({ length: c.depth }, (_, i) => i);
      if (c.model_type !== 'spectral_codec') throw new Error(`The page has no codec of the kind ${c.model_type}.`);
      const block = (at, width) => ({
        width,
        taps: tensors.place(at + '.kernel'),
        norm: tensors.norm(at + '.norm'),
        up: tensors.linear(at + '.up'),
        down: tensors.linear(at + '.down'),
      });
      this.memory = memory;
      this.config = c;
      this.first = tensors.linear(name + 'latent_decoder.0');
      this.slow = depth.map(i => block(`${name}latent_decoder.1.${i}`, c.latent_size));
      this.up = tensors.linear(name + 'up');
      this.fast = depth.map(i => block(`${name}decoder.0.${i}`, c.decoder_size));
      this.norm = tensors.norm(name + 'decoder.1');
      this.head = tensors.linear(name + 'decoder.2');
      this.books = tensors.place(name + 'codebooks');
      this.vocoder = new live.Vocoder(c);
    }

    /** Code frames that a frame's sound depends on, on each side. */
    get reach() {
      const { depth, stride } = this.config;
      return TAPS * depth + Math.ceil((TAPS * depth) / stride);
    }

    /** Code frames between the newest one and the sound that can be made of them, see `SoundStream`. */
    get lag() {
      return CHUNK + FORESIGHT + AROUND / this.config.stride;
    }

    get samplesPerFrame() {
      return this.config.stft_hop * this.config.stride;
    }

    /** Spectrogram in dB, (frames × stride, bins), of codes: an Int16Array of `frames` for each codebook. */
    spectrogram(codes) {
      const { memory, config: c } = this;
      const { kernel } = memory;
      const frames = codes[0].length;
      const top = memory.top;
      const widest = Math.max(c.latent_size, c.stride * c.decoder_size, c.codebook_dim);
      const bins = this.head.outputs;
      const x = memory.reserve(frames * widest);
      const y = memory.reserve(frames * widest);
      const wide = memory.reserve(frames * Math.max(this.slow[0].up.outputs, c.stride * this.fast[0].up.outputs));
      const out = memory.reserve(frames * c.stride * bins + 4);
      const scratch = { y, wide };

      const latents = memory.view(y, frames * c.codebook_dim).fill(0);
      codes.forEach((book, k) =>
        book.forEach((code, frame) => {
          const entry = memory.view(this.books + 4 * (k * c.codebook_size + code) * c.codebook_dim, c.codebook_dim);
          for (let i = 0; i < c.codebook_dim; i++) latents[frame * c.codebook_dim + i] += entry[i];
        }),
      );
      this.multiply(this.first, y, x, frames, 0);
      for (const block of this.slow) this.run(block, x, frames, scratch);
      this.multiply(this.up, x, y, frames, 0); // one row of `stride` frames for each code frame
      const rows = frames * c.stride;
      const fast = y;
      for (const block of this.fast) this.run(block, fast, rows, { y: x, wide });
      kernel.normalise(fast, x, this.norm.weight, this.norm.bias, c.decoder_size, rows, EPSILON);
      this.multiply(this.head, x, out, rows, 0);
      const decibels = memory.view(out, rows * bins).map(value => value * 30 - 60);
      memory.release(top);
      return decibels;
    }

    multiply({ weight, bias, inputs, outputs }, x, y, rows, add) {
      this.memory.kernel.multiply(x, weight, y, inputs, outputs, rows, bias, add);
    }

    /** One ConvNeXt block on x (rows, width), in place. */
    run(block, x, rows, { y, wide }) {
      const { kernel } = this.memory;
      const { width } = block;
      kernel.convolve(x, y, block.taps, width, rows);
      kernel.normalise(y, y, block.norm.weight, block.norm.bias, width, rows, EPSILON);
      this.multiply(block.up, y, wide, rows, 0);
      kernel.geluTanh(wide, rows * block.up.outputs);
      this.multiply(block.down, wide, x, rows, 1);
    }

    /** Sound of a whole clip. */
    decode(codes) {
      return this.vocoder.sound(this.spectrogram(codes));
    }
  };

  /**
   * The sound of a clip that is still being written, a chunk at a time.
   *
   * It waits for less of what follows than the network reaches, so that the sound comes sooner: the spectrogram differs
   * from that of `decode` by 0.2 dB (root mean square above -50 dB). Chunks are blended over a few hundredths of a second.
   */
  live.SoundStream = class {
    constructor(codec, frames) {
      this.codec = codec;
      this.frames = frames; // of the whole clip
      this.sent = 0;
      this.state = codec.vocoder.startOfPhases();
      this.left = { magnitudes: [], phases: [] }; // of the last frames before the next chunk
      this.tail = null; // what the last chunk would sound like a little further
    }

    /** Code frames that must be complete before the next chunk can be made. */
    get needed() {
      const { stride } = this.codec.config;
      return Math.min(this.frames, this.sent + CHUNK + FORESIGHT + AROUND / stride);
    }

    /** The next chunk's samples; `codes` must be complete up to `needed`. */
    next(codes) {
      const { codec, sent, frames } = this;
      const { stride } = codec.config;
      const { bins, hop } = codec.vocoder;
      const end = Math.min(frames, sent + CHUNK);
      const from = Math.max(0, sent - codec.reach);
      const to = this.needed;
      const window = codec.spectrogram(codes.map(book => book.subarray(from, to)));
      const row = frame => (frame - from) * stride * bins;
      const right = Math.min(frames, end + AROUND / stride);
      const own = codec.vocoder.begin(window.subarray(row(sent), row(end)), this.state);
      const ahead = codec.vocoder.begin(window.subarray(row(end), row(right)), {
        cycles: this.state.cycles.slice(),
        before: this.state.before.slice(),
      });
      const joined = field => Float32Array.from([...this.left[field], ...own[field], ...ahead[field]]);
      const before = this.left.phases.length / bins;
      const made = { magnitudes: joined('magnitudes'), phases: joined('phases') };
      const sound = codec.vocoder.finish({ ...made, frames: made.phases.length / bins });

      const keep = Math.max(0, own.phases.length - AROUND * bins);
      this.left = { magnitudes: own.magnitudes.slice(keep), phases: own.phases.slice(keep) };
      this.sent = end;
      const chunk = sound.slice(before * hop, (before + own.frames) * hop);
      if (this.tail)
        this.tail.forEach((old, i) => {
          chunk[i] += (old - chunk[i]) * (1 - i / this.tail.length);
        });
      this.tail = sound.slice((before + own.frames) * hop, (before + own.frames + AROUND / 2) * hop);
      return chunk;
    }
  };
});
