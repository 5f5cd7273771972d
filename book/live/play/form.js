// The form: what it asks for, as a request to the model; links that fill it in; vectors that a reader drops on it.
(function (play) {
  'use strict';

  const TRAINED = 8; // s, the length of the clips that the model was trained on
  const FIRST = 0.03; // λ of tempo to begin with, where no chapter has chosen one
  const { one, say, make } = play;

  play.Form = class {
    /**
     * @param {object} directions  of `SteerLive.loadDirections`
     * @param {() => void} turned  called when a λ has changed
     */
    constructor(directions, turned) {
      this.directions = directions;
      this.layers = directions.vectors.tempo.directions.length / directions.hidden;
      this.showWords = play.offerWords(directions);
      this.attributes = new play.Attributes(directions.vectors, () => {
        this.warn();
        turned();
      });
      this.curve = new play.Curve(
        name => this.attributes.get(name),
        () => this.attributes.yieldTo(this.curve.attribute),
      );
      const numbers = Array.from({ length: this.layers }, (_, layer) => layer);
      one('lp-layer').append(
        ...numbers.map(layer =>
          make('option', { value: layer }, layer === directions.layer ? `${layer} (the book’s)` : String(layer)),
        ),
        make('option', { value: '' }, 'each block its own'),
      );
      one('lp-layer').value = directions.layer;
      this.boxes = numbers.map(block => make('input', { type: 'checkbox', checked: true, value: block }));
      this.boxes.forEach((box, block) =>
        one('lp-blocks').append(make('label', { class: 'lp-check' }, box, String(block))),
      );
      this.defaults = play.fieldDefaults();

      one('lp-die').addEventListener('click', () => {
        one('lp-seed').value = Math.floor(Math.random() * 10000);
      });
      one('lp-seconds').addEventListener('change', () => {
        this.curve.draw();
        this.warn();
      });
      this.acceptFiles();
      this.attributes.set('tempo', directions.vectors.tempo.safe ?? FIRST); // so that the first press has something to tell
      window.addEventListener('hashchange', () => this.follow());
      this.follow();
    }

    /** The blocks to steer; null for all of them. */
    get blocks() {
      const chosen = this.boxes.filter(box => box.checked).map(box => Number(box.value));
      return chosen.length === this.layers ? null : chosen;
    }

    set blocks(chosen) {
      this.boxes.forEach((box, block) => {
        box.checked = chosen === null || chosen.includes(block);
      });
    }

    warn() {
      const strong = this.attributes.entries().filter(([, value]) => Math.abs(value) > play.Attributes.LARGEST);
      const parts = strong.map(
        ([name, value]) => `λ = ${play.signed(value)} is larger than any that was tried for ${name}. Expect the music to break.`,
      );
      if (Number(one('lp-seconds').value) > TRAINED)
        parts.push(`The model learned from clips of ${TRAINED} s. A longer clip may lose its way.`);
      say(one('lp-strong'), parts.join(' '));
    }

    /** Where and how all directions act. */
    manner() {
      const layer = one('lp-layer').value;
      return {
        sourceLayer: layer === '' ? null : Number(layer),
        layers: this.blocks,
        steps: one('lp-steps').value,
        branches: one('lp-branches').value,
        site: one('lp-site').value,
        preserveNorm: one('lp-norm').checked,
      };
    }

    /** What the form asks for, with vectors by name. */
    request() {
      const { attributes, curve } = this;
      const manner = this.manner();
      const number = id => (one(id).value.trim() === '' ? NaN : Number(one(id).value));
      const seconds = number('lp-seconds');
      const steering = attributes
        .entries()
        .filter(([name]) => name !== curve.attribute)
        .map(([vector, multiplier]) => ({ vector, multiplier, ...manner }));
      if (curve.attribute && curve.values.some(value => value !== 0)) {
        const schedule = curve.schedule(Math.round(seconds * this.directions.frameRate));
        steering.push({ vector: curve.attribute, multiplier: 1, schedule, ...manner });
      }
      return {
        prompt: one('lp-prompt').value.trim(),
        seed: number('lp-seed'),
        seconds,
        guidanceScale: number('lp-guidance'),
        temperature: number('lp-temperature'),
        topK: one('lp-topk').value.trim() === '' ? null : number('lp-topk'),
        doSample: !one('lp-greedy').checked,
        steering,
        melody: play.melodyOf(one('lp-tune').value, this.directions.melodyLength),
        observe: attributes.vector(steering.length ? steering[0].vector : 'tempo'),
      };
    }

    /** Steerings with the vectors themselves, which may be a reader's own. */
    withVectors(steering) {
      return steering.map(({ vector, ...each }) => ({ ...each, vector: this.attributes.vector(vector) }));
    }

    /** A link's hash that holds the question. */
    hash() {
      return play.hashOf(this.attributes, this.curve, this.blocks, this.defaults);
    }

    /** Take over the question of the address, if it has one. */
    follow() {
      if (
        play.readHash(location.hash, this.attributes, this.curve, blocks => {
          this.blocks = blocks;
        })
      )
        this.showWords();
    }

    acceptFiles() {
      const drop = one('lp-drop');
      const over = is => drop.classList.toggle('lp-over', is);
      one('lp-file').addEventListener('change', event => this.take(event.target.files[0]));
      drop.addEventListener('dragover', event => {
        event.preventDefault();
        over(true);
      });
      drop.addEventListener('dragleave', () => over(false));
      drop.addEventListener('drop', event => {
        event.preventDefault();
        over(false);
        this.take(event.dataTransfer.files[0]);
      });
    }

    /** A slider for the vector in a file. */
    async take(file) {
      if (!file) return;
      say(one('lp-error'), '');
      try {
        const vector = SteerLive.readVector(await file.arrayBuffer());
        const { metadata } = vector;
        const { layers, directions } = this;
        if (vector.layers !== layers || vector.hidden !== directions.hidden) {
          throw new SteerLive.BadInput(
            `${file.name} has ${vector.layers} layers of ${vector.hidden} numbers, but this model needs ${layers} of ` +
              `${directions.hidden}: take a vector from this model.`,
          );
        }
        const name = file.name.replace(/\.safetensors$/, '');
        const poles = { positive: `+ ${name}`, negative: `− ${name}` };
        this.attributes.add(name, { ...vector, kind: 'own', ...poles, ...named(metadata) });
        const isOther = metadata.weights && metadata.weights !== directions.model.weights;
        say(
          one('lp-status'),
          isOther
            ? `${file.name} was made with other weights, so its directions may mean nothing here.`
            : `${file.name} has a slider now.`,
        );
      } catch (error) {
        say(one('lp-error'), play.sentence(error));
      }
    }
  };

  /** The poles that a vector's metadata names. */
  const named = ({ positive, negative }) => ({ ...(positive && { positive }), ...(negative && { negative }) });
})(SteerPlay);
