// λ of every attribute: sliders with a field for numbers, and a square that moves two of them at once.
(function (play) {
  'use strict';

  const LARGEST = 0.1;
  const STEP = 0.005;

  play.Attributes = class {
    /** @param {object} vectors  name -> {positive, negative, kind, safe} */
    constructor(vectors, changed) {
      this.changed = changed;
      this.rows = new Map();
      for (const [name, vector] of Object.entries(vectors)) this.add(name, vector);
      this.pad = { x: play.one('lp-pad-x'), y: play.one('lp-pad-y'), field: play.one('lp-pad') };
      this.pad.x.value = 'tempo';
      this.pad.y.value = 'timbre';
      this.connectPad();
    }

    /** One more slider; a vector of this name gives way. */
    add(name, vector) {
      if (this.rows.has(name)) this.rows.get(name).row.remove();
      const spoken = `λ of ${name}: ${vector.negative} to ${vector.positive}`;
      const range = play.make('input', {
        type: 'range',
        min: -LARGEST,
        max: LARGEST,
        step: STEP,
        value: 0,
        'aria-label': spoken,
        list: false,
      });
      const number = play.make('input', {
        type: 'number',
        step: STEP,
        value: 0,
        'aria-label': `${spoken}, as a number`,
      });
      const track = play.make('div', { class: 'lp-track' }, range);
      if (vector.safe) {
        const share = 50 * (vector.safe / LARGEST);
        track.append(
          play.make('i', {
            style: `left:${50 - share}%;width:${2 * share}%`,
            title: `within the budget of quality up to λ = ±${vector.safe}`,
          }),
        );
      }
      const row = play.make(
        'div',
        { class: 'lp-slider', 'data-attribute': name },
        play.make('span', {}, vector.negative),
        track,
        play.make('span', {}, vector.positive),
        number,
      );
      this.rows.set(name, { row, range, number, vector, value: 0 });
      range.addEventListener('input', () => this.set(name, Number(range.value)));
      range.addEventListener('dblclick', () => this.set(name, 0));
      number.addEventListener('input', () => this.set(name, Number(number.value), number));
      play.one(vector.kind === 'attribute' || vector.kind === 'own' ? 'lp-sliders' : 'lp-more').append(row);
      if (vector.kind === 'attribute') {
        for (const id of ['lp-pad-x', 'lp-pad-y', 'lp-curve-of'])
          play.one(id).append(play.make('option', { value: name }, name));
      }
    }

    set(name, value, from) {
      const row = this.rows.get(name);
      if (!row) return;
      row.value = Number.isFinite(value) ? value : 0;
      row.range.value = row.value;
      if (row.number !== from) row.number.value = +row.value.toFixed(4);
      const pole = row.value < 0 ? row.vector.negative : row.vector.positive;
      row.range.style.setProperty('--lp-colour', row.value ? play.colourOf(pole, row.value) : '#666');
      row.range.setAttribute(
        'aria-valuetext',
        row.value ? `${play.signed(row.value)}, toward ${pole}` : '0, not steered',
      );
      this.show();
      this.changed();
    }

    /** A curve takes the place of one slider; null for none. */
    yieldTo(name) {
      for (const [each, { row, range, number }] of this.rows) {
        row.classList.toggle('lp-off', each === name);
        range.disabled = number.disabled = each === name;
      }
    }

    get(name) {
      return this.rows.get(name).value;
    }

    /** [name, λ] of all attributes that are steered. */
    entries() {
      return [...this.rows].map(([name, { value }]) => [name, value]).filter(([, value]) => value !== 0);
    }

    vector(name) {
      return this.rows.get(name).vector;
    }

    show() {
      const { x, y, field } = this.pad || {};
      if (!field || !this.rows.has(x.value) || !this.rows.has(y.value)) return;
      const place = name => Math.max(-1, Math.min(1, this.get(name) / LARGEST));
      field.firstElementChild.style.left = `${50 + 50 * place(x.value)}%`;
      field.firstElementChild.style.top = `${50 - 50 * place(y.value)}%`;
      const part = name => {
        const { vector, value } = this.rows.get(name);
        return value ? `${play.signed(value)} ${value < 0 ? vector.negative : vector.positive}` : `0 ${name}`;
      };
      play.say(play.one('lp-pad-value'), `${part(x.value)}, ${part(y.value)}`);
    }

    connectPad() {
      const { x, y, field } = this.pad;
      const rounded = value => Math.max(-LARGEST, Math.min(LARGEST, Math.round(value / STEP) * STEP));
      const drag = event => {
        const box = field.getBoundingClientRect();
        this.set(x.value, rounded(LARGEST * (2 * ((event.clientX - box.left) / box.width) - 1)));
        this.set(y.value, rounded(LARGEST * (1 - 2 * ((event.clientY - box.top) / box.height))));
      };
      field.addEventListener('pointerdown', event => {
        field.setPointerCapture(event.pointerId);
        drag(event);
      });
      field.addEventListener('pointermove', event => {
        if (field.hasPointerCapture(event.pointerId)) drag(event);
      });
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      field.addEventListener('keydown', event => {
        const move = moves[event.key];
        if (!move && event.key !== 'Home') return;
        event.preventDefault();
        for (const [i, name] of [x.value, y.value].entries())
          this.set(name, move ? rounded(this.get(name) + move[i] * STEP) : 0);
      });
      for (const select of [x, y]) select.addEventListener('change', () => this.show());
      this.show();
    }
  };
  play.Attributes.LARGEST = LARGEST;
})(SteerPlay);
