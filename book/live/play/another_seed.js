// Sliders and grids of the chapters, with another seed: the clips that came with the page give way to ones that the model
// makes here. Each figure says in `data-remake` what its clips are, and asks for them one by one as they are to be heard.
(function (play) {
  'use strict';

  const { make, say } = play;
  const HOME = document.currentScript.src.replace(/[^/]*$/, '');
  const PEAK = 0.97;
  const LARGEST_SEED = 99999;
  const MEASURES = {
    // by their unit in the figure
    BPM: play.tempo,
    Hz: (...sound) => SteerLive.brightnessOf(...sound).toFixed(0).replace('NaN', '–'),
  };
  let loading = null;

  /** The model of this page, loaded when it is first asked for. */
  function model(weights, onProgress) {
    loading = loading || load(weights, onProgress);
    loading.catch(() => {
      loading = null;
    });
    return loading;
  }

  async function load(weights, onProgress) {
    if (!window.SteerLive) {
      await new Promise((resolve, reject) => {
        const failed = () => reject(new Error('steerlive.js is not beside this page'));
        document.head.append(
          Object.assign(document.createElement('script'), {
            src: `${HOME}steerlive.js`,
            onload: resolve,
            onerror: failed,
          }),
        );
      });
    }
    const directions = await SteerLive.loadDirections({ base: HOME });
    if (directions.model.weights !== weights)
      throw new SteerLive.BadInput('These clips are of another edition of the model than the one that came with the book.');
    return SteerLive.load({ base: HOME, directions, onProgress });
  }

  class AnotherSeed {
    constructor(root) {
      this.root = root;
      this.made = JSON.parse(root.dataset.remake);
      this.items = [...root.querySelectorAll('.sl-clips li')];
      this.original = this.items.map(item => ({ ...item.dataset, spoken: item.firstElementChild.textContent }));
      this.pictures = [...root.querySelectorAll('.sl-picture')];
      this.drawn = this.pictures.map(picture => picture.src);
      this.field = make('input', { type: 'number', step: 1, value: this.made.seed });
      this.go = make('button', { type: 'submit', class: 'sl-quiet' }, 'Make this with another seed');
      this.back = make('button', { type: 'button', class: 'sl-quiet', hidden: true }, `Back to seed ${this.made.seed}`);
      this.status = make('span', { role: 'status' }, loading ? '' : 'The first press loads the model into this page.');
      this.row = make('form', { class: 'sl-another' }, make('label', {}, 'Seed ', this.field), this.go, this.back, this.status);
      this.row.addEventListener('submit', event => {
        event.preventDefault();
        this.begin();
      });
      this.back.addEventListener('click', () => this.end(''));
      root.insertBefore(this.row, root.querySelector('.sl-clips'));
      this.seed = this.made.seed;
      this.wanted = new Map(); // index -> what to do with its clip
      this.turn = 0;
    }

    /** The seed in the field, or a new one if the clips are of that one already. */
    begin() {
      const seed = this.field.value.trim() === '' ? NaN : Number(this.field.value);
      if (!Number.isSafeInteger(seed)) return say(this.status, 'A seed is a whole number.');
      this.seed = seed === this.seed ? Math.floor(Math.random() * LARGEST_SEED) : seed;
      this.field.value = this.seed;
      this.drop();
      this.sounds = this.items.map(() => null);
      this.addresses = [];
      this.items.forEach((item, i) => {
        item.dataset.values = 'not made yet';
        if (item.dataset.value) item.dataset.value = '…';
        item.firstElementChild.textContent = `${item.dataset.setting}, not made yet`;
        if (this.pictures[i]) this.pictures[i].style.opacity = 0.2;
      });
      this.back.hidden = false;
      this.root.renew(index => this.ask(index));
      const start = this.root.querySelector('.sl-play') || this.root.querySelector('.sl-active');
      if (start) start.click(); // in a slider what is on; in a grid what was heard last
      else say(this.status, `Seed ${this.seed}: choose a cell, and its clip is made.`);
    }

    /** Nothing that was asked for is wanted any more. */
    drop() {
      this.turn++;
      this.wanted.forEach(({ reject }) => reject(new DOMException('not wanted any more', 'AbortError')));
      this.wanted.clear();
    }

    /** Back to the clips of the page. */
    end(words) {
      this.drop();
      this.seed = this.field.value = this.made.seed;
      this.items.forEach((item, i) => {
        const { spoken, ...data } = this.original[i];
        Object.assign(item.dataset, data);
        item.firstElementChild.textContent = spoken;
        if (this.pictures[i]) Object.assign(this.pictures[i], { src: this.drawn[i], style: '' });
      });
      this.back.hidden = true;
      this.root.renew(null);
      say(this.status, words);
    }

    /** The address of a clip, when it is made. */
    ask(index) {
      const promise = new Promise((resolve, reject) => this.wanted.set(index, { resolve, reject }));
      if (this.busy !== this.turn) this.work(this.turn);
      return promise;
    }

    /** Make what is wanted, what is nearest to what is heard first, until nothing is or there is another seed. */
    async work(turn) {
      this.busy = turn;
      const current = () => turn === this.turn;
      try {
        const millions = bytes => (bytes / 1e6).toFixed(0);
        const live = await model(this.made.weights, (done, total) => {
          if (current()) say(this.status, `Loading the model: ${millions(done)} of ${millions(total)} MB`);
        });
        while (current() && this.wanted.size) {
          const heard = Number(this.root.dataset.current);
          const [index] = [...this.wanted.keys()].sort((a, b) => Math.abs(a - heard) - Math.abs(b - heard));
          const { resolve } = this.wanted.get(index);
          say(this.status, `Seed ${this.seed}: making ${this.items[index].dataset.setting} …`);
          const clip = await live.generate(this.request(index, live));
          if (!current()) return;
          this.wanted.delete(index);
          this.take(index, clip);
          resolve(this.addresses[index]);
        }
        const count = this.sounds.filter(Boolean).length;
        if (current()) say(this.status, `Seed ${this.seed}: ${count} of ${this.items.length} made in this page; BPM by rule.`);
      } catch (error) {
        if (current()) this.end(window.SteerLive ? play.sentence(error) : error.message);
      } finally {
        if (this.busy === turn) this.busy = null;
      }
    }

    request(index, { layers, hidden }) {
      const { seconds, guidanceScale, directions, clips } = this.made;
      const { prompt, direction, multiplier } = clips[index];
      const vector = { directions: new Float32Array(layers * hidden) };
      vector.directions.set(new Float32Array(SteerLive.fromBase64(directions[direction]).buffer)); // as that of layer 0
      const steering = multiplier ? [{ vector, multiplier, sourceLayer: 0 }] : [];
      return { prompt, seed: this.seed, seconds, guidanceScale, steering };
    }

    /** Show a clip, and set all that are made to one loudness. */
    take(index, { audio, sampleRate }) {
      const item = this.items[index];
      const peak = audio.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-5);
      const sound = audio.map(x => (x * PEAK) / peak);
      this.sounds[index] = sound;
      this.addresses[index] = URL.createObjectURL(new Blob([play.wav(sound, sampleRate)], { type: 'audio/wav' }));
      const there = this.sounds.flatMap((each, i) => (each ? [i] : []));
      SteerLive.equalGains(there.map(i => this.sounds[i]), sampleRate).forEach((gain, k) => {
        this.items[there[k]].querySelector('audio').volume = Math.min(1, gain);
      });
      const measured = text => {
        const unit = text.split(' ').pop();
        return MEASURES[unit] ? `${MEASURES[unit](audio, sampleRate)} ${unit}` : '';
      };
      const { value, values, setting } = this.original[index];
      item.dataset.values = values.split('|').map(measured).filter(Boolean).join('|');
      if (value) item.dataset.value = measured(value);
      item.firstElementChild.textContent = [setting, ...item.dataset.values.split('|')].filter(Boolean).join(', ');
      if (this.pictures[index]) {
        const canvas = document.createElement('canvas');
        play.drawSpectrogram(canvas, audio, sampleRate);
        Object.assign(this.pictures[index], { src: canvas.toDataURL(), style: '' });
      }
      this.root.show();
    }
  }

  document.querySelectorAll('[data-remake][data-ready]').forEach(root => new AnotherSeed(root));
})(SteerPlay);
