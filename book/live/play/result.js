// What was made: two clips at the same place in the music, their pictures and measures, and what one takes away.
(function (play) {
  'use strict';

  const { one, say, make } = play;
  const MEASURES = [
    ['tempo (BPM, by rule)', clip => play.tempo(clip.audio, clip.sampleRate)],
    ['brightness (Hz)', clip => SteerLive.brightnessOf(clip.audio, clip.sampleRate), 0],
    ['onsets per second', clip => SteerLive.onsetsOf(clip.audio, clip.sampleRate), 1],
    ['level (dB)', clip => SteerLive.levelOf(clip.audio), 1],
    ['undecided (bits)', clip => clip.entropies.reduce((a, b) => a + b) / clip.entropies.length, 2],
  ];

  play.Result = class {
    /**
     * @param {(asked: object) => object} recipeOf  of `play.recipe`
     * @param {() => string} hash  of a link to the question as the form has it
     */
    constructor(recipeOf, hash) {
      this.asked = null;
      this.clips = [null, null]; // without and with steering
      this.pair = new play.Pair(state => this.showPlace(state));
      this.figures = ['not steered', 'steered'].map((name, i) => this.figure(name, i));
      this.switches = [...document.querySelectorAll('#lp-result .lp-switch button')];
      this.switches.forEach((button, i) => button.addEventListener('click', () => this.pair.hear(i)));
      one('lp-play').addEventListener('click', () => {
        this.pair.wake();
        this.pair.toggle();
      });
      one('lp-equal').addEventListener('change', event => this.pair.setEqual(event.target.checked));
      one('lp-wav').addEventListener('click', () => {
        const { audio, sampleRate } = this.heard;
        play.download(this.fileName('wav'), play.wav(audio, sampleRate), 'audio/wav');
      });
      one('lp-json').addEventListener('click', () => {
        const recipe = recipeOf(this.isSteered ? this.asked : { ...this.asked, steering: [] });
        play.download(this.fileName('json'), JSON.stringify(recipe, null, 1), 'application/json');
      });
      one('lp-link').addEventListener('click', () => this.copyLink(location.href.replace(/#.*/, '') + hash()));
    }

    /** The clip that is heard, or would be. */
    get heard() {
      return this.clips[this.pair.heard] || this.clips.find(Boolean);
    }

    get isSteered() {
      return this.heard === this.clips[1];
    }

    fileName(end) {
      const prompt = this.asked.prompt.replace(/[^\w]+/g, '-').slice(0, 40);
      return `${prompt}-${this.asked.seed}${this.isSteered ? '-steered' : ''}.${end}`;
    }

    async copyLink(address) {
      history.replaceState(null, '', address);
      try {
        await navigator.clipboard.writeText(address);
        say(one('lp-kept'), 'The link is copied.');
      } catch {
        say(one('lp-kept'), 'The link is in the address bar: copy it from there.');
      }
    }

    figure(name, i) {
      const picture = make('canvas', { role: 'img' });
      const line = make('i');
      const entropy = make('canvas', { role: 'img', title: 'How undecided the model was about the next token' });
      const view = make('div', { class: 'lp-picture', title: 'Go to this place in the music' }, picture, entropy, line);
      const figure = make('figure', { class: 'lp-clip' }, make('figcaption', {}, name), view);
      view.addEventListener('click', event => {
        const box = view.getBoundingClientRect();
        this.pair.seek((event.clientX - box.left) / box.width);
        this.pair.hear(i);
      });
      document.querySelector('.lp-clips').append(figure);
      return { figure, picture, entropy, line };
    }

    showPlace({ playing, heard, share }) {
      if (this.shown !== `${playing} ${heard}`) {
        this.shown = `${playing} ${heard}`;
        one('lp-play').textContent = playing ? 'Pause' : 'Play';
        one('lp-play').setAttribute('aria-pressed', playing);
        this.switches.forEach((button, i) => button.setAttribute('aria-pressed', i === heard));
        this.figures.forEach(({ figure }, i) => figure.classList.toggle('lp-heard', i === heard));
      }
      this.figures.forEach(({ line }) => {
        line.style.left = `${100 * share}%`;
      });
      one('lp-inside').querySelector('i').style.left = `${100 * share}%`;
      one('lp').dataset.position = (share * this.pair.seconds).toFixed(2);
    }

    /** Show clips that were asked for; one of the two may not be there, or not yet. */
    show(asked, plain, steered) {
      this.asked = asked;
      this.clips = [plain, steered];
      const there = this.clips.filter(Boolean);
      const most = Math.max(...there.flatMap(clip => clip.entropies), 1);
      one('lp-result').hidden = false;
      this.pair.set(
        this.clips.map(clip => clip && clip.audio),
        there[0].sampleRate,
      );
      this.clips.forEach((clip, i) => {
        const { figure, picture, entropy } = this.figures[i];
        figure.hidden = this.switches[i].hidden = !clip;
        if (!clip) return;
        play.drawSpectrogram(picture, clip.audio, clip.sampleRate);
        play.drawEntropy(entropy, clip.entropies, most);
        picture.setAttribute('aria-label', `Mel spectrogram of the ${i ? 'steered' : 'unsteered'} clip`);
        entropy.setAttribute(
          'aria-label',
          `How undecided the model was, from 0 to ${most.toFixed(1)} bits, over the clip`,
        );
      });
      const named = asked.steering.map(({ vector, multiplier, schedule }) =>
        schedule ? `${vector} by a curve` : `${play.signed(multiplier)} ${vector}`,
      );
      this.figures[1].figure.firstElementChild.textContent = `steered: ${named.join(', ')}`;
      this.showMeasures(there);
      this.showInside(plain, steered);
    }

    showMeasures(there) {
      const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits).replace('-', '−') : '–');
      const heads = ['', 'not steered', 'steered'].filter((_, i) => i === 0 || this.clips[i - 1]);
      const rows = MEASURES.map(([name, measure, digits]) => [
        name,
        ...there.map(clip => (digits === undefined ? measure(clip) : number(measure(clip), digits))),
      ]);
      play.fillTable(one('lp-measures'), heads, rows);
    }

    /** How far steering has moved the states themselves, at each layer. */
    showInside(plain, steered) {
      const figure = one('lp-inside');
      figure.hidden = !(plain && steered && plain.readings.length && steered.readings.length);
      if (figure.hidden) return;
      const [caption, view, note] = figure.children;
      const { positive, negative } = this.asked.observe;
      const canvas = view.firstElementChild;
      const most = play.drawReadings(canvas, steered.readings, plain.readings);
      caption.textContent = `inside: from ${negative} to ${positive}`;
      canvas.setAttribute(
        'aria-label',
        `How much further toward ${positive} the steered clip's states are, by layer and time`,
      );
      say(
        note,
        `Each row is a layer, the last one on top; orange is further toward ${positive} than without steering, blue ` +
          `further away. The strongest colour is ${most.toFixed(1)} times the distance between the two poles.`,
      );
    }
  };
})(SteerPlay);
