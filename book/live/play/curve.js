// λ as a curve over the clip, drawn by hand: values at evenly spaced places, straight lines between them.
(function (play) {
  'use strict';

  const PLACES = 17;
  const STEP = 0.005;

  play.Curve = class {
    /**
     * @param {(attribute: string) => number} sliderOf  λ of an attribute's slider, where its curve begins
     * @param {() => void} changed
     */
    constructor(sliderOf, changed) {
      this.root = play.one('lp-curve');
      this.canvas = this.root.querySelector('canvas');
      this.which = play.one('lp-curve-of');
      this.values = new Array(PLACES).fill(0);
      this.place = 0;
      this.changed = () => {
        this.draw();
        changed();
      };
      const drag = event => this.drag(event);
      this.canvas.addEventListener('pointerdown', event => {
        this.canvas.setPointerCapture(event.pointerId);
        this.from = null;
        drag(event);
      });
      this.canvas.addEventListener('pointermove', event => {
        if (this.canvas.hasPointerCapture(event.pointerId)) drag(event);
      });
      this.root.addEventListener('keydown', event => this.press(event));
      this.which.addEventListener('change', () => {
        if (this.attribute && this.values.every(value => value === 0)) this.values.fill(sliderOf(this.attribute));
        this.changed();
      });
      play.one('lp-curve-flat').addEventListener('click', () => {
        this.values.fill(0);
        this.changed();
      });
      play.one('lp-curve-fold').addEventListener('toggle', () => this.draw());
      window.addEventListener('resize', () => this.draw());
    }

    /** The attribute that the curve is for, or null. */
    get attribute() {
      return this.which.value || null;
    }

    /** λ of each of so many frames. */
    schedule(frames) {
      return Array.from({ length: frames }, (_, frame) => {
        const at = (frame / Math.max(1, frames - 1)) * (PLACES - 1);
        const left = Math.min(Math.floor(at), PLACES - 2);
        return +(this.values[left] + (at - left) * (this.values[left + 1] - this.values[left])).toFixed(6);
      });
    }

    /** Take over a curve: an attribute, and a value for each place. */
    set(attribute, values) {
      this.which.value = attribute || '';
      if (values && values.length === PLACES && values.every(Number.isFinite)) this.values = values.slice();
      this.changed();
    }

    drag(event) {
      const box = this.canvas.getBoundingClientRect();
      const largest = play.Attributes.LARGEST;
      const place = Math.round(Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * (PLACES - 1));
      const height = Math.max(-1, Math.min(1, 1 - 2 * ((event.clientY - box.top) / box.height)));
      const value = Math.round((height * largest) / STEP) * STEP;
      const from = this.from === null ? place : this.from;
      // A quick hand skips places: those between get the value too.
      for (let each = Math.min(from, place); each <= Math.max(from, place); each++) this.values[each] = value;
      this.from = this.place = place;
      if (!this.which.value) this.which.value = 'tempo';
      this.changed();
    }

    press(event) {
      const across = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const up = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!across && !up) return;
      event.preventDefault();
      if (across) this.place = Math.max(0, Math.min(PLACES - 1, this.place + across));
      else {
        const largest = play.Attributes.LARGEST;
        this.values[this.place] = +Math.max(-largest, Math.min(largest, this.values[this.place] + up * STEP)).toFixed(
          4,
        );
        if (!this.which.value) this.which.value = 'tempo';
      }
      this.changed();
    }

    draw() {
      const { canvas } = this;
      const wide = canvas.clientWidth;
      const high = canvas.clientHeight;
      const density = window.devicePixelRatio || 1;
      if (!wide) return;
      canvas.width = wide * density;
      canvas.height = high * density;
      const pen = canvas.getContext('2d');
      const ink = getComputedStyle(canvas).color;
      const largest = play.Attributes.LARGEST;
      const x = place => 8 + ((wide - 16) * place) / (PLACES - 1);
      const y = value => high / 2 - (value / largest) * (high / 2 - 8);
      pen.scale(density, density);
      pen.globalAlpha = 0.35;
      pen.strokeStyle = pen.fillStyle = ink;
      pen.strokeRect(0, Math.round(high / 2), wide, 0);
      pen.globalAlpha = this.attribute ? 1 : 0.4;
      pen.beginPath();
      this.values.forEach((value, place) => pen.lineTo(x(place), y(value)));
      pen.lineWidth = 2;
      pen.strokeStyle = '#0072B2';
      pen.stroke();
      this.values.forEach((value, place) => {
        pen.beginPath();
        pen.arc(x(place), y(value), place === this.place ? 6 : 3.5, 0, 2 * Math.PI);
        pen.fillStyle = place === this.place ? '#E69F00' : '#0072B2';
        pen.fill();
      });
      pen.globalAlpha = 0.8;
      pen.fillStyle = ink;
      pen.font = '12px sans-serif';
      pen.fillText(`+${largest}`, 6, 14);
      pen.fillText(`−${largest}`, 6, high - 6);
      const seconds = Number(play.one('lp-seconds').value);
      const at = (seconds * this.place) / (PLACES - 1);
      play.say(
        play.one('lp-curve-value'),
        `${this.attribute || 'no attribute'}: λ = ${play.signed(this.values[this.place]) || 0} at ${at.toFixed(1)} s of ${seconds} s`,
      );
    }
  };
})(SteerPlay);
