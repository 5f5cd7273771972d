// What tests/test_live.py runs in the page, beside what it presses there. `model` is the loaded model.
window.checks = (function () {
  const floats = text => new Float32Array(SteerLive.fromBase64(text).buffer);
  const bytes = array => SteerLive.toBase64(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));

  /** Make a clip; arrays come and go in base64. */
  async function make(request) {
    const steering = request.steering.map(({ directions, ...each }) => ({
      ...each,
      vector: { directions: floats(directions) },
    }));
    const clip = await model.generate({ ...request, steering });
    return { tokens: clip.tokens.map(bytes), audio: bytes(clip.audio), times: clip.times, memory: clip.memory };
  }

  /** Tempo, brightness, onsets, level and loudness of a clip; null for what cannot be told. */
  function measure(text) {
    const audio = floats(text);
    const { tempoOf, brightnessOf, onsetsOf, levelOf, loudnessOf } = SteerLive;
    const anyTempo = (...sound) => tempoOf(...sound, Infinity);
    return [tempoOf, anyTempo, brightnessOf, onsetsOf, levelOf, loudnessOf].map(measured => {
      const value = measured(audio, 16000);
      return Number.isNaN(value) ? null : value;
    });
  }

  /** Token ids of prompts. */
  function tokenise([header, prompts]) {
    const tokenizer = new SteerLive.Tokenizer(header.tokenizer, header.textLength);
    return prompts.map(prompt => [...tokenizer.encode(prompt).ids]);
  }

  /** Milliseconds of the matrix products of one step with guidance, over weights of the model's shape. */
  async function products() {
    const { instance } = await WebAssembly.instantiate(SteerLive.fromBase64(SteerLive.kernel));
    const kernel = instance.exports;
    const memory = new SteerLive.Memory(kernel);
    const { layers, hidden, codebooks } = model;
    const sizes = [
      [hidden, 3 * hidden],
      [hidden, hidden],
      [hidden, 4 * hidden],
      [4 * hidden, hidden],
    ];
    const start = memory.top;
    const room = (n, m) => memory.reserve((n * m) / 2);
    const blocks = Array.from({ length: layers }, () => sizes.map(([n, m]) => room(n, m)));
    const heads = room(hidden, codebooks * 1024);
    const x = memory.reserve(8 * hidden);
    const y = memory.reserve(8 * 1024 * 8);
    memory.view(start, (memory.top - start) / 4).fill(0.01); // memory that was never written is not there yet
    const began = performance.now();
    const times = 50;
    for (let again = 0; again < times; again++) {
      for (const block of blocks) sizes.forEach(([n, m], i) => kernel.multiplyHalves(x, block[i], y, n, m, 2, 0));
      kernel.multiplyHalves(x, heads, y, hidden, codebooks * 1024, 1, 0);
    }
    return (performance.now() - began) / times;
  }

  /** Whether products with weights in half precision are, bit for bit, those with the same weights in float32. */
  async function halvesAreExact() {
    const { instance } = await WebAssembly.instantiate(SteerLive.fromBase64(SteerLive.kernel));
    const memory = new SteerLive.Memory(instance.exports);
    const [inputs, rows] = [24, 3]; // an odd last row, two tensors one after the other
    const shapes = { a: [8, inputs], b: [12, inputs] };
    const halves = Uint16Array.from({ length: 20 * inputs }, (_, i) => {
      const bits = (i * 40503) & 0xffff;
      return (bits & 0x7c00) === 0x7c00 ? bits & 0x83ff : bits; // subnormal instead of infinite
    });
    const stored = type => ({
      a: { type, shape: shapes.a, at: 0 },
      b: { type, shape: shapes.b, at: 2 * 8 * inputs },
    });
    const narrow = new SteerLive.Tensors(memory, stored('F16'));
    const matrix = narrow.matrix('a', 'b');
    const wide = memory.reserve(20 * inputs);
    const x = memory.reserve(rows * inputs);
    const y = [0, 1].map(() => memory.reserve(rows * 20));
    const cut = 2 * 100; // pieces need not end with a row
    for (const [from, to] of [
      [0, cut],
      [cut, halves.byteLength],
    ])
      narrow.receive(new Uint8Array(halves.buffer.slice(from, to)), from);
    SteerLive.widenHalves(halves, memory.view(wide, 20 * inputs));
    memory.view(x, rows * inputs).set(Array.from({ length: rows * inputs }, (_, i) => Math.sin(i) * 10 ** ((i % 9) - 4)));
    return [false, true].map(add => {
      y.forEach(at => memory.view(at, rows * 20).fill(0.5));
      matrix.times(x, y[0], rows, add);
      instance.exports.multiply(x, wide, y[1], inputs, 20, rows, 0, add ? 1 : 0);
      const [found, expected] = y.map(at => memory.view(at, rows * 20));
      return found.every((value, i) => value === expected[i]) && new Set(found).size > 50;
    });
  }

  /** A model in the page itself, without a worker. */
  async function load(base, kind) {
    let model;
    let header;
    let at = 0;
    SteerLive.receiveHeader = given => {
      header = given;
    };
    SteerLive.receivePiece = holder => {
      const piece = SteerLive.bytesOf(holder);
      model.receive(piece, at);
      at += piece.length;
    };
    const run = name =>
      new Promise(done => {
        document.head.append(Object.assign(document.createElement('script'), { src: base + name, onload: done }));
      });
    await run(`model-${kind}.js`);
    const { instance } = await WebAssembly.instantiate(SteerLive.fromBase64(SteerLive.kernel));
    model = new SteerLive.Model(header, instance.exports);
    for (let number = 0; number < header.pieces; number++)
      await run(`model-${kind}-${String(number).padStart(2, '0')}.js`);
    return model;
  }

  function probabilities(logits) {
    const most = Math.max(...logits);
    const weights = logits.map(x => Math.exp(x - most));
    const total = weights.reduce((a, b) => a + b);
    return weights.map(weight => weight / total);
  }

  /** Divergence (nats a token) of small weights from exact ones along one clip, and how often their first choice agrees. */
  async function compare(base) {
    const seen = { fp16: [], int8: [] };
    const chosen = [];
    const choose = SteerLive.chooseTokens;
    for (const kind of ['fp16', 'int8']) {
      const own = await load(base, kind);
      let step = 0;
      SteerLive.chooseTokens = (logits, ...rest) => {
        seen[kind].push(logits.slice());
        if (kind === 'fp16') chosen.push(choose(logits, ...rest));
        return chosen[step++];
      };
      for (const _ of own.write({ prompt: 'a folk song with a guitar', seconds: 4 }));
    }
    let divergence = 0;
    let agree = 0;
    let count = 0;
    seen.fp16.forEach((exact, step) => {
      for (let book = 0; book < 8; book++) {
        const [p, q] = [exact, seen.int8[step]].map(logits =>
          probabilities(logits.subarray(1024 * book, 1024 * (book + 1))),
        );
        divergence += p.reduce((sum, x, i) => sum + (x > 0 ? x * Math.log(x / Math.max(q[i], 1e-30)) : 0), 0);
        agree += p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q));
        count++;
      }
    });
    return [divergence / count, agree / count];
  }

  /** Name and message of the error of a request. */
  async function refused(request) {
    try {
      await model.generate(request);
      return null;
    } catch (error) {
      return [error instanceof SteerLive.BadInput ? 'BadInput' : error.name, error.message];
    }
  }

  /** What is read of tempo at each step and layer, without steering and with that of one block. */
  async function readings(block, multiplier) {
    const request = { prompt: 'a folk song', seconds: 1, observe: 'tempo' };
    const steering = [{ vector: 'tempo', multiplier, layers: [block] }];
    const clips = [await model.generate(request), await model.generate({ ...request, steering })];
    return clips.map(clip => clip.readings.map(reading => [...reading]));
  }

  /** The name of the error with which a clip ends that is stopped at its first sign of life. */
  async function stopped() {
    const stop = new AbortController();
    try {
      await model.generate({ prompt: 'a folk song', seconds: 30, signal: stop.signal, onProgress: () => stop.abort() });
      return null;
    } catch (error) {
      return error.name;
    }
  }

  /** A vector's file in base64, read; or the sentence that refuses it. */
  function readVector(text) {
    try {
      const { directions, layers, hidden, metadata } = SteerLive.readVector(SteerLive.fromBase64(text).buffer);
      return [layers, hidden, metadata.positive, bytes(directions)];
    } catch (error) {
      return error instanceof SteerLive.BadInput ? error.message : `another error: ${error}`;
    }
  }

  /** Samples that live sound is longer or shorter by than the clip, and how far their spectrograms differ in dB. */
  async function liveSound() {
    const heard = [];
    const made = model.perform(
      {
        prompt: 'a folk song',
        seconds: 4,
        steering: [{ vector: 'tempo', multiplier: 1 }],
        multipliers: [0.02],
        onSound: ({ samples }) => heard.push(...samples),
      },
      { ahead: 1000 },
    );
    const clip = await made.clip;
    const [whole, pieces] = [clip.audio, heard].map(
      each => SteerLive.melSpectrogram(Float32Array.from(each), 16000).values,
    );
    let sum = 0;
    let count = 0;
    whole.forEach((value, i) => {
      if (value < -50) return;
      sum += (value - pieces[i]) ** 2;
      count++;
    });
    return [clip.audio.length - heard.length, Math.sqrt(sum / count)];
  }

  /** Keep the model that the page loads, and what it performs, so that `performAgain` can look. */
  function watchPerformance() {
    const { load: loadModel, LiveModel } = SteerLive;
    const { perform } = LiveModel.prototype;
    SteerLive.load = async given => (window.model = await loadModel(given));
    LiveModel.prototype.perform = function (request, more) {
      const made = perform.call(this, request, more);
      made.clip.then(clip => {
        window.performed = { request, clip };
      });
      return made;
    };
  }

  /** Whether the clip of the kept schedules has the tokens of the performance, and whether λ moved at all. */
  async function performAgain() {
    const {
      request: { onSound, onTurn, multipliers, signal, ...request },
      clip,
    } = window.performed;
    const steering = request.steering.map((each, i) => ({ ...each, schedule: clip.schedules[i] }));
    const again = await model.generate({ ...request, steering });
    return [
      again.tokens.every((book, k) => book.every((token, i) => token === clip.tokens[k][i])),
      clip.schedules.some(schedule => new Set(schedule).size > 1),
    ];
  }

  /** The samples of the WAV file that a player has, in 16 bits; null if it has another file. */
  async function wavOf(audio) {
    if (!audio.src.startsWith('blob:')) return null;
    const bytes = await (await fetch(audio.src)).arrayBuffer();
    return SteerLive.toBase64(new Uint8Array(bytes, 44));
  }

  /** Whether a clip of a widget has been made here. */
  const isMade = index => document.querySelectorAll('.sl-clips audio')[index].src.startsWith('blob:');

  /** Do what `work` does and tell it to an address: what a browser does that nobody drives. */
  async function report(address, work) {
    const told = await work().catch(error => ({ error: String(error) }));
    await fetch(address, { method: 'POST', mode: 'no-cors', body: JSON.stringify(told) });
  }

  /** Press *Make it*, wait, and say what the page shows. */
  async function press() {
    const root = document.getElementById('lp');
    const until = async told => {
      while (!told() && document.getElementById('lp-error').hidden) await new Promise(done => setTimeout(done, 50));
    };
    await until(() => root.dataset.ready);
    document.getElementById('lp-seconds').value = '4';
    document.getElementById('lp-make').click();
    await until(() => root.dataset.made);
    const text = id => document.getElementById(id).textContent;
    return { error: text('lp-error'), status: text('lp-status'), measures: text('lp-measures') };
  }

  /** Count the frames that the page draws, in `window.drawn`. */
  function countFrames() {
    window.drawn = 0;
    const look = () => {
      window.drawn++;
      requestAnimationFrame(look);
    };
    look();
  }

  return {
    make,
    measure,
    tokenise,
    halvesAreExact,
    products,
    compare,
    refused,
    stopped,
    readings,
    readVector,
    liveSound,
    watchPerformance,
    performAgain,
    wavOf,
    isMade,
    report,
    press,
    countFrames,
  };
})();
