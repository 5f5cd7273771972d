// The page Play, joined: what its form asks becomes a request, what the model makes becomes two clips to compare.
(function (play) {
  'use strict';

  const TRAINED = 8;  // s, the length of the clips that the model was trained on
  const FIRST = 0.03;  // λ of tempo to begin with, where no chapter has chosen one
  const { one, say } = play;

  async function begin() {
    let model = null, loading = null, running = null, made = null;
    const missing = SteerLive.whatIsMissing();
    one('lp-ask').hidden = false;
    if (missing) {
      one('lp-make').disabled = one('lp-live').disabled = true;
      return say(one('lp-error'), missing);
    }
    let directions;
    try {
      directions = await SteerLive.loadDirections();
    } catch (error) {
      return say(one('lp-error'), play.sentence(error));
    }
    const layers = directions.vectors.tempo.directions.length / directions.hidden;

    // --- the form -------------------------------------------------------------------------------------------------

    const showWords = play.offerWords(directions, () => {});
    const attributes = new play.Attributes(directions.vectors, () => turn());
    const curve = new play.Curve(name => attributes.get(name), () => attributes.yieldTo(curve.attribute));
    one('lp-layer').append(
      ...Array.from({ length: layers }, (_, layer) => play.make('option', { value: layer }, layer === directions.layer ? `${layer} (the book’s)` : layer)),
      play.make('option', { value: '' }, 'each block its own')
    );
    one('lp-layer').value = directions.layer;
    const blocks = Array.from({ length: layers }, (_, block) => play.make('input', { type: 'checkbox', checked: true, value: block }));
    blocks.forEach((box, block) => one('lp-blocks').append(play.make('label', { class: 'lp-check' }, box, String(block))));
    const chosenBlocks = () => {
      const chosen = blocks.filter(box => box.checked).map(box => Number(box.value));
      return chosen.length === layers ? null : chosen;
    };
    const setBlocks = chosen => blocks.forEach((box, block) => { box.checked = chosen === null || chosen.includes(block); });
    const defaults = play.fieldDefaults();

    one('lp-die').addEventListener('click', () => { one('lp-seed').value = Math.floor(Math.random() * 10000); });
    one('lp-seconds').addEventListener('change', () => { curve.draw(); warn(); });

    function warn() {
      const strong = attributes.entries().filter(([, value]) => Math.abs(value) > play.Attributes.LARGEST);
      const parts = strong.map(([name, value]) => `λ = ${play.signed(value)} is beyond where ${name} was tried: expect the music to break.`);
      if (Number(one('lp-seconds').value) > TRAINED) parts.push(`The model has learned from clips of ${TRAINED} s: a longer one may lose its way.`);
      say(one('lp-strong'), parts.join(' '));
    }

    /** What the form asks for. `scheduled` is false where the sliders themselves are moved in time. */
    function request() {
      const number = id => (one(id).value.trim() === '' ? NaN : Number(one(id).value)), chosen = chosenBlocks();
      const seconds = number('lp-seconds'), layer = one('lp-layer').value;
      const common = {
        sourceLayer: layer === '' ? null : Number(layer), layers: chosen, steps: one('lp-steps').value,
        branches: one('lp-branches').value, site: one('lp-site').value, preserveNorm: one('lp-norm').checked,
      };
      const steering = attributes.entries().filter(([name]) => name !== curve.attribute)
        .map(([vector, multiplier]) => ({ vector, multiplier, ...common }));
      if (curve.attribute && curve.values.some(value => value !== 0)) {
        steering.push({ vector: curve.attribute, multiplier: 1, schedule: curve.schedule(Math.round(seconds * frameRate())), ...common });
      }
      return {
        prompt: one('lp-prompt').value.trim(), seed: number('lp-seed'), seconds, guidanceScale: number('lp-guidance'),
        temperature: number('lp-temperature'), topK: one('lp-topk').value.trim() === '' ? null : number('lp-topk'),
        doSample: !one('lp-greedy').checked, steering, common,
        observe: attributes.vector(steering.length ? steering[0].vector : 'tempo'),
      };
    }
    const frameRate = () => (model ? model.frameRate : directions.frameRate);
    const withVectors = steering => steering.map(({ vector, ...each }) => ({ ...each, vector: attributes.vector(vector) }));

    // --- the model ------------------------------------------------------------------------------------------------

    /** The model, loaded if it is not. */
    function ready(signal) {
      if (model) return Promise.resolve(model);
      loading = loading || (async () => {
        const kind = document.querySelector('[name="lp-kind"]:checked').value;
        try {
          model = await SteerLive.load({
            kind, directions, signal,
            onProgress(done, total) {
              progress(done / total);
              say(one('lp-status'), `Loading the model: ${(done / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB of numbers`);
            },
          });
        } finally {
          loading = null;
        }
        one('lp-load').hidden = true;
        one('lp').dataset.model = kind;
        return model;
      })();
      return loading;
    }

    function progress(share) {
      one('lp-progress').hidden = share === null;
      one('lp-progress').value = share || 0;
    }

    /** Do what a button asks for, with a way to stop it; errors become sentences. */
    async function run(work) {
      if (running) running.abort();
      const mine = running = new AbortController();
      say(one('lp-error'), '');
      one('lp-make').disabled = one('lp-live').disabled = true;
      one('lp-stop').hidden = false;
      try {
        await work(mine.signal);
      } catch (error) {
        say(one('lp-status'), error.name === 'AbortError' ? 'Stopped.' : '');
        if (error.name !== 'AbortError') say(one('lp-error'), play.sentence(error));
      } finally {
        if (running === mine) running = null;
        progress(null);
        one('lp-make').disabled = one('lp-live').disabled = false;
        one('lp-stop').hidden = true;
        delete one('lp').dataset.busy;
      }
    }
    one('lp-stop').addEventListener('click', () => running && running.abort());

    // --- make it --------------------------------------------------------------------------------------------------

    const pair = new play.Pair(showPlace);
    const figures = ['not steered', 'steered'].map((name, i) => {
      const [picture, entropy, line] = [play.make('canvas'), play.make('canvas'), play.make('i')];
      const view = play.make('div', { class: 'lp-picture', title: 'Go to this place in the music' }, picture, entropy, line);
      const figure = play.make('figure', { class: 'lp-clip' }, play.make('figcaption', {}, name), view);
      view.addEventListener('click', event => {
        const box = view.getBoundingClientRect();
        pair.seek((event.clientX - box.left) / box.width);
        pair.hear(i);
      });
      document.querySelector('.lp-clips').append(figure);
      return { figure, picture, entropy, line };
    });
    const switches = [...document.querySelectorAll('#lp-result .lp-switch button')];

    function showPlace({ playing, heard, share }) {
      one('lp-play').textContent = playing ? 'Pause' : 'Play';
      one('lp-play').setAttribute('aria-pressed', playing);
      switches.forEach((button, i) => button.setAttribute('aria-pressed', i === heard));
      figures.forEach(({ figure, line }, i) => {
        figure.classList.toggle('lp-heard', i === heard);
        line.style.left = `${100 * share}%`;
      });
      one('lp-inside').querySelector('i').style.left = `${100 * share}%`;
      one('lp').dataset.position = (share * pair.seconds).toFixed(2);
    }

    const unsteered = new Map();  // the last clips without steering, by what was asked: most presses ask for the same one

    async function plain(asked, signal, tell) {
      const { steering, common, ...rest } = asked, { observe, ...named } = rest;
      const key = JSON.stringify([named, steering.length ? steering[0].vector : 'tempo']);
      if (!unsteered.has(key)) {
        const clip = await model.generate({ ...rest, signal, onProgress: tell });
        if (unsteered.size > 8) unsteered.delete(unsteered.keys().next().value);
        unsteered.set(key, clip);
      }
      return unsteered.get(key);
    }

    function tellProgress(what, part, parts) {
      return ({ position, positions, entropy }) => {
        progress((part + position / positions) / parts);
        say(one('lp-status'), `Writing the ${what} clip: ${position} of ${positions} steps; the next token is one of some ${Math.round(2 ** entropy)}`);
      };
    }

    one('lp-ask').addEventListener('submit', event => {
      event.preventDefault();
      pair.wake();
      run(async signal => {
        const began = performance.now();
        await ready(signal);
        const loaded = performance.now(), asked = request(), { common, ...clean } = asked, parts = asked.steering.length ? 2 : 1;
        let steered = null;
        if (parts === 2) {
          const tell = tellProgress('steered', 0, 2);
          steered = await model.generate({ ...clean, steering: withVectors(asked.steering), signal, onProgress: tell });
          show(asked, null, steered);
          pair.hear(1);
          if (!pair.playing) pair.start();
          one('lp').dataset.firstSound = Math.round(performance.now() - loaded);
        }
        const first = await plain(asked, signal, tellProgress('unsteered', parts - 1, parts));
        show(asked, first, steered);
        if (!steered) pair.hear(0);
        if (!pair.playing) pair.start();
        const { steps, write } = (steered || first).times;
        say(one('lp-status'), `${(write / steps).toFixed(1)} ms a step, ${((performance.now() - loaded) / 1000).toFixed(1)} s in all` +
          (loaded - began > 50 ? `, after ${((loaded - began) / 1000).toFixed(1)} s to load the model.` : '.'));
        history.replaceState(null, '', hash());
        one('lp').dataset.made = String(Number(one('lp').dataset.made || 0) + 1);
      });
    });

    /** Show what was made: clips, pictures, measures. */
    function show(asked, plainClip, steeredClip) {
      made = { asked, clips: [plainClip, steeredClip] };
      const there = made.clips.filter(Boolean), most = Math.max(...there.flatMap(clip => clip.entropies), 1);
      one('lp-result').hidden = false;
      pair.set(made.clips.map(clip => clip && clip.audio), model.sampleRate);
      made.clips.forEach((clip, i) => {
        figures[i].figure.hidden = switches[i].hidden = !clip;
        if (!clip) return;
        play.drawSpectrogram(figures[i].picture, clip.audio, clip.sampleRate);
        play.drawEntropy(figures[i].entropy, clip.entropies, most);
        figures[i].picture.setAttribute('role', 'img');
        figures[i].picture.setAttribute('aria-label', `Mel spectrogram of the ${i ? 'steered' : 'unsteered'} clip`);
        figures[i].entropy.setAttribute('role', 'img');
        figures[i].entropy.setAttribute('aria-label', `How undecided the model was, from 0 to ${most.toFixed(1)} bits, over the clip`);
        figures[i].entropy.title = 'How undecided the model was about the next token';
      });
      const named = asked.steering.map(({ vector, multiplier, schedule }) => (schedule ? `${vector} by a curve` : `${play.signed(multiplier)} ${vector}`));
      figures[1].figure.firstElementChild.textContent = `steered: ${named.join(', ')}`;
      showMeasures();
      showInside();
    }

    /** How far steering has moved the states themselves, at each layer. */
    function showInside() {
      const [plainClip, steeredClip] = made.clips, figure = one('lp-inside');
      figure.hidden = !plainClip || !steeredClip || !plainClip.readings.length || !steeredClip.readings.length;
      if (figure.hidden) return;
      const [caption, view, note] = figure.children, { positive, negative } = made.asked.observe, canvas = view.firstElementChild;
      const most = play.drawReadings(canvas, steeredClip.readings, plainClip.readings);
      caption.textContent = `inside: from ${negative} to ${positive}`;
      canvas.setAttribute('aria-label', `How much further toward ${positive} the steered clip's states are, by layer and time`);
      say(note, `Each row is a layer, the last one on top; orange is further toward ${positive} than without steering, blue further away. ` +
        `The strongest colour is ${most.toFixed(1)} times the distance between the two poles.`);
    }

    function showMeasures() {
      const rows = [
        ['brightness (Hz)', clip => SteerLive.brightnessOf(clip.audio, clip.sampleRate), 0],
        ['onsets per second', clip => SteerLive.onsetsOf(clip.audio, clip.sampleRate), 1],
        ['level (dB)', clip => SteerLive.levelOf(clip.audio), 1],
        ['undecided (bits)', clip => clip.entropies.reduce((a, b) => a + b) / clip.entropies.length, 2],
      ];
      const [first, second] = made.clips, heads = ['', ...(first ? ['not steered'] : []), ...(second ? ['steered'] : [])];
      const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits).replace('-', '−') : '–');
      one('lp-measures').replaceChildren(
        play.make('thead', {}, play.make('tr', {}, ...heads.map(head => play.make('th', { scope: 'col' }, head)))),
        play.make('tbody', {}, ...rows.map(([name, measure, digits]) => play.make('tr', {}, play.make('th', { scope: 'row' }, name),
          ...[first, second].filter(Boolean).map(clip => play.make('td', {}, number(measure(clip), digits))))))
      );
    }

    // --- play live ------------------------------------------------------------------------------------------------

    let live = null;

    /** λ of the attributes that a live clip steers by, as the sliders stand. */
    function turn() {
      warn();
      if (live) live.turn(live.names.map(name => attributes.get(name)));
    }

    one('lp-live').addEventListener('click', () => {
      const context = pair.wake();
      pair.stop();
      run(async signal => {
        await ready(signal);
        const asked = request(), { common, ...clean } = asked;
        const names = [...attributes.rows].filter(([, { vector, value }]) => vector.kind === 'attribute' || value !== 0).map(([name]) => name);
        const steering = names.map(vector => ({ vector, multiplier: 1, ...common }));
        curve.set('', null);
        one('lp').dataset.busy = 'live';
        live = play.perform(model, { ...clean, steering: withVectors(steering), multipliers: names.map(name => attributes.get(name)), signal }, context, {
          moved: seconds => {
            one('lp').dataset.delay = seconds.toFixed(2);
            say(one('lp-status'), `Playing. You hear this move of λ ${seconds.toFixed(1)} s after you made it, for the model writes that far ahead of your ear.`);
          },
          played: frame => progress(Math.min(1, frame / (asked.seconds * model.frameRate))),
        });
        live.names = names;
        say(one('lp-status'), 'Playing. Move the sliders, or the point in the square.');
        let clip;
        try {
          clip = await live.clip;
        } finally {
          live = null;
        }
        const moved = steering.map((each, i) => ({ ...each, schedule: clip.schedules[i] })).filter(({ schedule }) => schedule.some(value => value !== 0));
        say(one('lp-status'), 'Making the clip without steering, to compare with …');
        const first = await plain(asked, signal, tellProgress('unsteered', 0, 1));
        show({ ...asked, steering: moved }, first, moved.length ? clip : null);
        pair.hear(moved.length ? 1 : 0);
        say(one('lp-status'), 'Your moves were kept: below is the clip that they made, and the same music without them.');
        one('lp').dataset.made = String(Number(one('lp').dataset.made || 0) + 1);
      });
    });

    // --- the result -----------------------------------------------------------------------------------------------

    one('lp-play').addEventListener('click', () => { pair.wake(); pair.toggle(); });
    switches.forEach((button, i) => button.addEventListener('click', () => pair.hear(i)));
    one('lp-equal').addEventListener('change', event => pair.setEqual(event.target.checked));

    const heardClip = () => made.clips[pair.heard] || made.clips.find(Boolean);
    const fileName = end => `${made.asked.prompt.replace(/[^\w]+/g, '-').slice(0, 40)}-${made.asked.seed}${heardClip() === made.clips[1] ? '-steered' : ''}.${end}`;
    const hash = () => play.hashOf(attributes, curve, chosenBlocks(), defaults);
    one('lp-wav').addEventListener('click', () => play.download(fileName('wav'), play.wav(heardClip().audio, model.sampleRate), 'audio/wav'));
    one('lp-json').addEventListener('click', () => {
      const asked = heardClip() === made.clips[1] ? made.asked : { ...made.asked, steering: [] };
      const recipe = play.recipe(asked, name => attributes.vector(name), directions.model, model.kind, layers);
      play.download(fileName('json'), JSON.stringify(recipe, null, 1), 'application/json');
    });
    one('lp-link').addEventListener('click', async () => {
      const address = location.href.replace(/#.*/, '') + hash();
      history.replaceState(null, '', address);
      try {
        await navigator.clipboard.writeText(address);
        say(one('lp-kept'), 'The link is copied.');
      } catch {
        say(one('lp-kept'), 'The link is in the address bar: copy it from there.');
      }
    });

    // --- vectors of one's own -------------------------------------------------------------------------------------

    async function take(file) {
      if (!file) return;
      say(one('lp-error'), '');
      try {
        const vector = SteerLive.readVector(await file.arrayBuffer()), { metadata } = vector;
        if (vector.layers !== layers || vector.hidden !== directions.hidden) {
          throw new SteerLive.BadInput(
            `${file.name} has ${vector.layers} layers of ${vector.hidden} numbers, but this model needs ${layers} of ${directions.hidden}: take a vector from this model.`
          );
        }
        const name = file.name.replace(/\.safetensors$/, '');
        attributes.add(name, { ...vector, kind: 'own', positive: metadata.positive || `+ ${name}`, negative: metadata.negative || `− ${name}` });
        say(one('lp-status'), metadata.weights && metadata.weights !== directions.model.weights
          ? `${file.name} was taken from other weights: its directions may mean nothing here.` : `${file.name} has a slider now.`);
      } catch (error) {
        say(one('lp-error'), play.sentence(error));
      }
    }
    const drop = one('lp-drop');
    one('lp-file').addEventListener('change', event => take(event.target.files[0]));
    drop.addEventListener('dragover', event => { event.preventDefault(); drop.classList.add('lp-over'); });
    drop.addEventListener('dragleave', () => drop.classList.remove('lp-over'));
    drop.addEventListener('drop', event => {
      event.preventDefault();
      drop.classList.remove('lp-over');
      take(event.dataTransfer.files[0]);
    });

    // --- links ----------------------------------------------------------------------------------------------------

    attributes.set('tempo', directions.vectors.tempo.safe ?? FIRST);  // so that the first press has something to tell
    const follow = () => { if (play.readHash(location.hash, attributes, curve, setBlocks)) showWords(); };
    window.addEventListener('hashchange', follow);
    follow();
    if (one('blind')) play.blindTest(directions, () => ready());
    one('lp').dataset.ready = 'yes';
  }

  begin();
})(SteerPlay);
