// The page Play, joined: the model is loaded at the first press; what the form asks becomes two clips to compare.
(function (play) {
  'use strict';

  const KEPT = 8; // clips without steering that are kept, because most presses ask for the same one
  const { one, say } = play;

  async function begin() {
    one('lp-ask').hidden = false;
    const missing = SteerLive.whatIsMissing();
    if (missing) {
      one('lp-make').disabled = one('lp-live').disabled = true;
      return say(one('lp-error'), missing);
    }
    try {
      new Page(await SteerLive.loadDirections());
    } catch (error) {
      say(one('lp-error'), play.sentence(error));
    }
  }

  class Page {
    constructor(directions) {
      this.directions = directions;
      this.model = this.loading = this.running = this.performance = null;
      this.unsteered = new Map();
      this.form = new play.Form(directions, () => this.turn());
      this.result = new play.Result(
        asked =>
          play.recipe(
            asked,
            name => this.form.attributes.vector(name),
            directions.model,
            this.model.kind,
            this.form.layers,
          ),
        () => this.form.hash(),
      );
      one('lp-ask').addEventListener('submit', event => {
        event.preventDefault();
        this.result.pair.wake();
        this.run(signal => this.make(signal));
      });
      one('lp-live').addEventListener('click', () => {
        this.result.pair.wake();
        this.result.pair.stop();
        this.run(signal => this.perform(signal));
      });
      one('lp-stop').addEventListener('click', () => this.running && this.running.abort());
      if (one('blind')) play.blindTest(directions, () => this.ready());
      one('lp').dataset.ready = 'yes';
    }

    /** The model, loaded if it is not. */
    ready(signal) {
      if (this.model) return Promise.resolve(this.model);
      this.loading =
        this.loading ||
        this.load(signal).finally(() => {
          this.loading = null;
        });
      return this.loading;
    }

    async load(signal) {
      const kind = document.querySelector('[name="lp-kind"]:checked').value;
      const millions = bytes => (bytes / 1e6).toFixed(0);
      this.model = await SteerLive.load({
        kind,
        directions: this.directions,
        signal,
        onProgress(done, total) {
          progress(done / total);
          say(one('lp-status'), `Loading the model: ${millions(done)} of ${millions(total)} MB of numbers`);
        },
      });
      one('lp-load').hidden = true;
      one('lp').dataset.model = kind;
      return this.model;
    }

    /** Do what a button asks for, with a way to stop it; errors become sentences. */
    async run(work) {
      this.running = new AbortController();
      say(one('lp-error'), '');
      one('lp-make').disabled = one('lp-live').disabled = true;
      one('lp-stop').hidden = false;
      try {
        await work(this.running.signal);
        one('lp').dataset.made = String(Number(one('lp').dataset.made || 0) + 1);
      } catch (error) {
        const isStop = error.name === 'AbortError';
        say(one('lp-status'), isStop ? 'Stopped.' : '');
        if (!isStop) say(one('lp-error'), play.sentence(error));
      } finally {
        this.running = null;
        progress(null);
        one('lp-make').disabled = one('lp-live').disabled = false;
        one('lp-stop').hidden = true;
        delete one('lp').dataset.busy;
      }
    }

    /** The clip that the form asks for, and the one without steering. The steered one comes first, and plays at once. */
    async make(signal) {
      const { form, result } = this;
      const { pair } = result;
      const pressed = performance.now();
      const model = await this.ready(signal);
      const began = performance.now();
      const asked = form.request();
      const seconds = (from, to) => `${((to - from) / 1000).toFixed(1)} s`;
      let steered = null;
      if (asked.steering.length) {
        const request = { ...asked, steering: form.withVectors(asked.steering) };
        steered = await model.generate({ ...request, signal, onProgress: tell('steered', 0, 2) });
        result.show(asked, null, steered);
        pair.hear(1);
        if (!pair.playing) pair.start();
        one('lp').dataset.firstSound = Math.round(performance.now() - began);
      }
      const plain = await this.plain(asked, signal, steered ? tell('unsteered', 1, 2) : tell('unsteered', 0, 1));
      result.show(asked, plain, steered);
      if (!steered) pair.hear(0);
      if (!pair.playing) pair.start();
      const { steps, write } = (steered || plain).times;
      const loading = began - pressed > 50 ? `, after ${seconds(pressed, began)} to load the model` : '';
      say(
        one('lp-status'),
        `${(write / steps).toFixed(1)} ms a step, ${seconds(began, performance.now())} in all${loading}.`,
      );
      history.replaceState(null, '', form.hash());
    }

    /** The clip without steering, made or remembered. */
    async plain(asked, signal, onProgress) {
      const { steering, observe, ...rest } = asked;
      const { unsteered } = this;
      const key = JSON.stringify([rest, steering.length ? steering[0].vector : 'tempo']);
      if (!unsteered.has(key)) {
        const clip = await this.model.generate({ ...rest, observe, signal, onProgress });
        if (unsteered.size >= KEPT) unsteered.delete(unsteered.keys().next().value);
        unsteered.set(key, clip);
      }
      return unsteered.get(key);
    }

    /** A clip that plays while it is written, with λ as the sliders stand at each moment; then the one without steering. */
    async perform(signal) {
      const { form, result } = this;
      const { attributes } = form;
      const model = await this.ready(signal);
      form.curve.set('', null);
      const asked = form.request();
      const manner = form.manner();
      const names = [...attributes.rows]
        .filter(([, { vector, value }]) => vector.kind === 'attribute' || value !== 0)
        .map(([name]) => name);
      const steering = names.map(vector => ({ vector, multiplier: 1, ...manner }));
      const request = {
        ...asked,
        steering: form.withVectors(steering),
        multipliers: names.map(name => attributes.get(name)),
        signal,
      };
      one('lp').dataset.busy = 'live';
      say(one('lp-status'), 'Playing. Move the sliders, or the point in the square.');
      let clip;
      try {
        this.performance = play.perform(model, request, result.pair.wake(), {
          moved(seconds) {
            one('lp').dataset.delay = seconds.toFixed(2);
            say(
              one('lp-status'),
              `Playing. You hear this move of λ ${seconds.toFixed(1)} s after you made it, because the model writes that far ahead.`,
            );
          },
          played: frame => progress(Math.min(1, frame / (asked.seconds * model.frameRate))),
        });
        this.performance.names = names;
        clip = await this.performance.clip;
      } finally {
        this.performance = null;
      }
      const moved = steering
        .map((each, i) => ({ ...each, schedule: clip.schedules[i] }))
        .filter(({ schedule }) => schedule.some(value => value !== 0));
      const plain = await this.plain({ ...asked, steering: moved }, signal, tell('unsteered', 0, 1));
      result.show({ ...asked, steering: moved }, plain, moved.length ? clip : null);
      result.pair.hear(moved.length ? 1 : 0);
      say(one('lp-status'), 'Your moves were kept: below is the clip that they made, and the same music without them.');
    }

    /** A λ has been moved. */
    turn() {
      const { performance: playing, form } = this;
      if (playing) playing.turn(playing.names.map(name => form.attributes.get(name)));
    }
  }

  /** Show how far something is, from 0 to 1; null hides it. */
  function progress(share) {
    one('lp-progress').hidden = share === null;
    one('lp-progress').value = share || 0;
  }

  /** What is shown while a clip is written, the `part`-th of so many. */
  function tell(what, part, parts) {
    return ({ position, positions, entropy }) => {
      progress((part + position / positions) / parts);
      const among = Math.round(2 ** entropy);
      say(
        one('lp-status'),
        `Writing the ${what} clip: ${position} of ${positions} steps; the next token is one of some ${among}`,
      );
    };
  }

  begin();
})(SteerPlay);
