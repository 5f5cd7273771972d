// What pages call: `SteerLive.load` gives a model, `model.generate` a clip. The rest happens in the worker.
SteerLive.part(function (live) {
  'use strict';

  if (typeof document === 'undefined') return; // this text runs in the worker as well

  const HOME = document.currentScript ? document.currentScript.src.replace(/[^/]*$/, '') : '';
  const waiting = { header: null, piece: null, directions: null };

  // The scripts with the weights and the directions call these.
  live.receiveHeader = header => waiting.header(header);
  live.receivePiece = holder => waiting.piece(live.bytesOf(holder));
  live.receiveDirections = directions => waiting.directions(directions);

  /** Load a script that hands something over, and give what it hands over. */
  function fetchScript(url, what, signal) {
    return new Promise((resolve, reject) => {
      if (signal && signal.aborted) return reject(new DOMException('aborted', 'AbortError'));
      const script = document.createElement('script');
      waiting[what] = resolve;
      script.src = url;
      const name = url.replace(/^.*\//, '');
      script.onload = () => {
        script.remove();
        reject(new live.BadInput(`${name} is damaged: build the book anew.`)); // no effect if something was handed over
      };
      script.onerror = () => {
        script.remove();
        reject(new live.BadInput(`${name} could not be loaded: it is not beside this page, or the connection broke.`));
      };
      document.head.append(script);
    });
  }

  /** The worker, made of the text of all parts. */
  function startWorker() {
    const program = `const SteerLive = {};\n${live.parts.map(part => `(${part})(SteerLive);`).join('\n')}\nSteerLive.serve(self);`;
    const url = URL.createObjectURL(new Blob([program], { type: 'text/javascript' }));
    const worker = new Worker(url);
    URL.revokeObjectURL(url);
    return worker;
  }

  /** Why this browser cannot run the model, in a sentence; null if it can. */
  live.whatIsMissing = function () {
    if (typeof WebAssembly === 'undefined' || !WebAssembly.validate(live.fromBase64(live.kernel))) {
      return 'This browser cannot run the model, for it has no WebAssembly with SIMD; Chrome from 91, Firefox from 89 and Safari from 16.4 have it.';
    }
    if (typeof Worker === 'undefined') return 'This browser cannot run the model, for it has no workers.';
    return null;
  };

  /** The directions that come with the book: {file, model, vectors: {name: {positive, negative, directions, ...}}}. */
  live.loadDirections = async function ({ base = HOME, signal } = {}) {
    const given = await fetchScript(base + 'directions.js', 'directions', signal);
    for (const vector of Object.values(given.vectors)) {
      vector.directions = new Float32Array(live.fromBase64(vector.directions).buffer);
    }
    return given;
  };

  /**
   * Load the model.
   *
   * @param {object} [options]
   * @param {string} [options.base]  address of the folder with the scripts; that of this one by default
   * @param {"fp16"|"int8"} [options.kind]  "fp16" is exact, "int8" half as large
   * @param {object} [options.directions]  of `loadDirections`, if they are there already
   * @param {(done: number, total: number) => void} [options.onProgress]  bytes
   * @param {AbortSignal} [options.signal]
   * @returns {Promise<LiveModel>}
   */
  live.load = async function ({ base = HOME, kind = 'fp16', directions, onProgress = () => {}, signal } = {}) {
    const missing = live.whatIsMissing();
    if (missing) throw new live.BadInput(missing);
    directions = directions || (await live.loadDirections({ base, signal }));
    const header = await fetchScript(`${base}model-${kind}.js`, 'header', signal);
    if (header.format !== 1 || header.file !== directions.file) {
      throw new live.BadInput(
        'Weights and directions are of different versions of this book: build it anew, all of it.',
      );
    }
    const model = new LiveModel(header, directions);
    try {
      Object.assign(model, await model.ask('begin', { header, kernel: live.kernel }));
      for (let number = 0, at = 0; number < header.pieces; number++) {
        const piece = await fetchScript(`${base}model-${kind}-${String(number).padStart(2, '0')}.js`, 'piece', signal);
        const size = piece.length;
        await model.ask('piece', { piece, at }, {}, [piece.buffer]);
        at += size;
        onProgress(at, header.bytes);
      }
    } catch (error) {
      model.close();
      throw error;
    }
    return model;
  };

  /** A loaded model. Its fields say what it is: layers, hidden, sampleRate, frameRate, longest (s), vocabulary, ... */
  class LiveModel {
    constructor(header, directions) {
      this.vectors = directions.vectors;
      this.directions = directions;
      this.vocabulary = header.vocabulary;
      this.worker = startWorker();
      this.asked = new Map();
      this.count = 0;
      this.worker.onmessage = ({ data }) => this.hear(data);
      this.worker.onerror = event => this.fail(event.message || 'the worker stopped');
    }

    ask(type, message, hear = {}, moved = []) {
      const id = ++this.count;
      return new Promise((resolve, reject) => {
        this.asked.set(id, { resolve, reject, hear });
        this.worker.postMessage({ id, type, ...message }, moved);
        if (hear.id) hear.id(id);
      });
    }

    hear({ id, type, ...rest }) {
      const asked = this.asked.get(id);
      if (!asked) return;
      if (type !== 'done' && type !== 'failed') return void (asked.hear[type] && asked.hear[type](rest));
      this.asked.delete(id);
      if (type === 'done') asked.resolve(rest.result);
      else if (rest.kind === 'input') asked.reject(new live.BadInput(rest.message));
      else if (rest.kind === 'abort') asked.reject(new DOMException('aborted', 'AbortError'));
      else asked.reject(new Error(rest.message));
    }

    fail(message) {
      for (const { reject } of this.asked.values()) reject(new Error(message));
      this.asked.clear();
    }

    /** A vector of its name, or as it is. */
    vector(given) {
      const known = typeof given === 'string' ? this.vectors[given] : given;
      if (!known)
        throw new live.BadInput(`There is no direction “${given}”: there are ${Object.keys(this.vectors).join(', ')}.`);
      return known;
    }

    /** A request for the worker: vectors that are named are looked up. */
    prepared({ steering = [], observe, signal, onProgress, onSound, onTurn, multipliers, ...request }) {
      const found = steering.map(({ vector, ...each }) => ({ ...each, directions: this.vector(vector).directions }));
      return { ...request, steering: found, observe: observe ? this.vector(observe).directions : null };
    }

    /**
     * Make a clip.
     *
     * @param {object} request
     * @param {string} request.prompt
     * @param {number} [request.seed=0]  whole number
     * @param {number} [request.seconds=8]
     * @param {object[]} [request.steering]  each {vector, multiplier, sourceLayer, layers, steps, branches, site,
     *   preserveNorm, schedule}; `vector` is a name of `vectors`, or what `SteerLive.readVector` gives
     * @param {number[]} [request.melody]  pitch classes (0 is C) to follow, each for as long as one of the model's
     *   `chroma` positions; begun again if they are fewer
     * @param {string|object} [request.observe]  a vector to look for in the model's states, see `readings`
     * @param {number} [request.guidanceScale=3]
     * @param {number} [request.temperature=1]
     * @param {number|null} [request.topK=250]
     * @param {boolean} [request.doSample=true]  false: the most probable token
     * @param {(progress: {position, positions, entropy}) => void} [request.onProgress]
     * @param {AbortSignal} [request.signal]
     * @returns {Promise<{tokens: Int16Array[], audio: Float32Array, sampleRate, entropies, readings, times}>}
     *   `readings` has a Float32Array (layers) for each step: how far the state is along each layer's direction
     */
    generate(request) {
      return this.write(request, {});
    }

    /**
     * Make a clip whose λ is moved while it plays. `onSound({from, samples})` gives sound as it is written, `onTurn({frame})`
     * the first frame that a move of λ acts on; `ahead` is how many positions writing may be ahead of the frame that was
     * last told to `heard`, and must be above the model's `lag`.
     *
     * @returns {{turn: (multipliers: number[]) => void, heard: (frame: number) => void, clip: Promise}} `clip` is as of
     *   `generate`, with the `schedules` that the moves have made
     */
    perform(request, { ahead }) {
      let id;
      const clip = this.write(request, { ahead, multipliers: request.multipliers }, given => {
        id = given;
      });
      const tell = (type, more) => this.worker.postMessage({ id, type, ...more });
      return { clip, turn: multipliers => tell('turn', { multipliers }), heard: frame => tell('heard', { frame }) };
    }

    async write(request, more, tellId = () => {}) {
      const { signal, onProgress, onSound, onTurn } = request;
      let id;
      const abort = () => this.worker.postMessage({ id, type: 'abort' });
      if (signal && signal.aborted) throw new DOMException('aborted', 'AbortError');
      if (signal) signal.addEventListener('abort', abort, { once: true });
      try {
        return await this.ask(
          'write',
          { request: this.prepared(request), ...more },
          {
            id(given) {
              id = given;
              tellId(given);
            },
            progress: onProgress,
            sound: onSound,
            turned: onTurn,
          },
        );
      } finally {
        if (signal) signal.removeEventListener('abort', abort);
      }
    }

    /** Stop the worker and give its memory back. */
    close() {
      this.worker.terminate();
      this.fail('the model was closed');
    }
  }
  live.LiveModel = LiveModel;
});
