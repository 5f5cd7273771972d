// The blind test: pairs of one prompt and seed, one of them steered, in random order; what the listener says, with an
// interval, and as a file.
(function (play) {
  'use strict';

  const ASK = {
    tempo: 'Which is faster?',
    timbre: 'Which is brighter?',
    loudness: 'Which is louder?',
    mode: 'Which sounds more cheerful?',
    energy: 'Which is more energetic?',
    steered: 'Which of the two is steered?',
    worse: 'Which sounds worse?',
    abx: 'X is one of the two. Which?',
  };
  const COLUMNS = [
    'trial',
    'question',
    'attribute',
    'lambda',
    'layer',
    'prompt',
    'seed',
    'a',
    'b',
    'x',
    'answer',
    'right',
    'seconds',
  ];

  /** Exact 95 % interval (Clopper and Pearson) of a share, k of n. */
  play.interval = function (k, n) {
    const tail = (p, from, to) => {
      // probability of from ... to right answers
      let sum = 0;
      for (let i = from, c = choose(n, from); i <= to; c *= (n - i) / (i + 1), i++)
        sum += c * p ** i * (1 - p) ** (n - i);
      return sum;
    };
    const solve = rises => {
      let low = 0,
        high = 1;
      for (let i = 0; i < 60; i++) {
        const middle = (low + high) / 2;
        if (rises(middle)) high = middle;
        else low = middle;
      }
      return (low + high) / 2;
    };
    return [k === 0 ? 0 : solve(p => tail(p, k, n) > 0.025), k === n ? 1 : solve(p => tail(p, 0, k) < 0.025)];
  };

  function choose(n, k) {
    let c = 1;
    for (let i = 0; i < k; i++) c *= (n - i) / (i + 1);
    return c;
  }

  /** Rows of objects as CSV. */
  play.csv = function (rows) {
    const cell = value => (/[",\n]/.test(String(value)) ? `"${String(value).replace(/"/g, '""')}"` : String(value));
    return (
      [COLUMNS, ...rows.map(row => COLUMNS.map(name => row[name]))].map(line => line.map(cell).join(',')).join('\n') +
      '\n'
    );
  };

  /**
   * Set the test up.
   *
   * @param {object} directions  of `SteerLive.loadDirections`
   * @param {() => Promise<LiveModel>} ready  loads the model if need be
   */
  play.blindTest = function (directions, ready) {
    const root = play.one('blind');
    const question = play.one('lb-question');
    const status = play.one('lb-status');
    const attributes = Object.keys(directions.vectors).filter(name => directions.vectors[name].kind === 'attribute');
    for (const [name, ask] of Object.entries(ASK)) {
      if (attributes.includes(name) || ['steered', 'worse', 'abx'].includes(name))
        question.append(play.make('option', { value: name }, ask));
    }
    root.hidden = false;
    const pair = new play.Pair(({ heard, playing }) => {
      [...play.one('lb-listen').children].forEach((button, i) =>
        button.setAttribute('aria-pressed', playing && i === heard),
      );
    });
    let rows = [];
    let wanted = 0;
    let next = null;
    let current = null;

    const random = list => list[Math.floor(Math.random() * list.length)];

    /** A trial with its clips, made in the background. */
    async function prepare(number, asked, lambda) {
      const model = await ready();
      const attribute = attributes.includes(asked) ? asked : random(attributes);
      const layer = directions.vectors[attribute].layer ?? directions.layer;
      const signed = Math.random() < 0.5 ? lambda : -lambda;
      const request = { prompt: random(directions.prompts), seed: Math.floor(Math.random() * 100000), seconds: 8 };
      const steered = await model.generate({
        ...request,
        steering: [{ vector: attribute, multiplier: signed, sourceLayer: layer }],
      });
      const plain = await model.generate(request);
      const steeredFirst = Math.random() < 0.5;
      const kinds = steeredFirst ? ['steered', 'not steered'] : ['not steered', 'steered'];
      const clips = steeredFirst ? [steered.audio, plain.audio] : [plain.audio, steered.audio];
      const x = Math.floor(Math.random() * 2);
      if (asked === 'abx') clips.push(clips[x]);
      // Toward the positive pole the steered clip is the right answer; toward the negative one, the other.
      const expected = asked === 'worse' || asked === 'steered' || signed > 0 ? 'steered' : 'not steered';
      const right = asked === 'abx' ? 'AB'[x] : 'AB'[kinds.indexOf(expected)];
      return {
        clips,
        sampleRate: plain.sampleRate,
        row: {
          trial: number,
          question: asked,
          attribute,
          lambda: signed,
          layer,
          ...request,
          a: kinds[0],
          b: kinds[1],
          x: asked === 'abx' ? 'AB'[x] : '',
          right,
        },
      };
    }

    function fail(error) {
      play.one('lb-setup').hidden = false;
      play.one('lb-trial').hidden = true;
      play.say(status, '');
      play.say(play.one('lb-error'), play.sentence(error));
    }

    async function show() {
      play.say(status, 'Making the next pair …');
      play.one('lb-trial').hidden = true;
      current = await next;
      play.say(status, '');
      const { row, clips, sampleRate } = current;
      const number = row.trial;
      next = number < wanted ? prepare(number + 1, row.question, Math.abs(row.lambda)) : null;
      if (next) next.catch(() => {}); // shown when its turn comes
      play.say(play.one('lb-ask'), ASK[row.question]);
      play.say(play.one('lb-count'), `${number} of ${wanted}`);
      const names = row.question === 'abx' ? ['A', 'B', 'X'] : ['A', 'B'];
      play.one('lb-listen').replaceChildren(
        ...names.map((name, i) => {
          const button = play.make('button', { type: 'button' }, `Play ${name}`);
          button.addEventListener('click', () => {
            pair.hear(i);
            if (!pair.playing) pair.start();
          });
          return button;
        }),
      );
      play.one('lb-answers').replaceChildren(
        ...['A', 'B'].map(name => {
          const button = play.make(
            'button',
            { type: 'button', class: 'lp-main' },
            row.question === 'abx' ? `X is ${name}` : name,
          );
          button.addEventListener('click', () => answer(name));
          return button;
        }),
      );
      pair.stop();
      pair.equal = row.attribute !== 'loudness';
      pair.position = pair.heard = 0;
      pair.set(clips, sampleRate);
      play.one('lb-trial').hidden = false;
      current.began = performance.now();
      play.one('lb-listen').firstElementChild.focus();
    }

    function answer(name) {
      const { row, began } = current;
      rows.push({
        ...row,
        answer: name,
        right: Number(name === row.right),
        seconds: ((performance.now() - began) / 1000).toFixed(1),
      });
      pair.stop();
      if (rows.length < wanted) show().catch(fail);
      else finish();
    }

    function finish() {
      play.one('lb-trial').hidden = true;
      play.one('lb-setup').hidden = play.one('lb-result').hidden = false;
      const right = rows.filter(row => row.right).length;
      const n = rows.length;
      const [low, high] = play.interval(right, n);
      const percent = share => Math.round(100 * share);
      const { question: asked } = rows[0];
      const what = asked === 'worse' ? 'You called the steered clip the worse one' : 'You were right';
      const chance =
        low > 0.5
          ? 'more often than guessing would be'
          : high < 0.5
            ? 'less often than guessing would be'
            : 'which guessing could do as well';
      play.say(
        play.one('lb-verdict'),
        `${what} in ${right} of ${n} trials, ${percent(right / n)} % [${percent(low)}, ${percent(high)}] (exact 95 % interval): ${chance}.`,
      );
      play.fillTable(
        play.one('lb-table'),
        ['trial', 'prompt', 'λ', 'A', 'B', 'answer', 'right'],
        rows.map(row => [
          String(row.trial),
          row.prompt,
          `${play.signed(row.lambda)} ${row.attribute}`,
          row.a,
          row.b,
          row.answer,
          row.right ? 'yes' : 'no',
        ]),
      );
      play.one('lb-verdict').setAttribute('tabindex', '-1');
      play.one('lb-verdict').focus();
    }

    play.one('lb-setup').addEventListener('submit', event => {
      event.preventDefault();
      pair.wake();
      rows = [];
      wanted = Number(play.one('lb-trials').value);
      play.one('lb-setup').hidden = play.one('lb-result').hidden = true;
      play.say(play.one('lb-error'), '');
      play.say(status, 'Loading the model, and making the first pair …');
      next = prepare(1, question.value, Number(play.one('lb-lambda').value));
      show().catch(fail);
    });
    play.one('lb-pause').addEventListener('click', () => pair.stop());
    play.one('lb-csv').addEventListener('click', () => play.download('blind-test.csv', play.csv(rows), 'text/csv'));
  };
})(SteerPlay);
