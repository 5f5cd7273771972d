// The page Play: small helpers that every part of it uses. The parts add to `SteerPlay`; `play.js` joins them.
var SteerPlay = {};
(function (play) {
  'use strict';

  play.one = id => document.getElementById(id);

  /** An element with attributes and children (elements or text). */
  play.make = function (tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== false) element.setAttribute(name, value === true ? '' : value);
    }
    element.append(...children);
    return element;
  };

  /** Fill a table with a row of heads and rows of text, of which the first cell is a head if its column has none. */
  play.fillTable = function (table, heads, rows) {
    const cell = (text, i) =>
      i === 0 && !heads[0] ? play.make('th', { scope: 'row' }, text) : play.make('td', {}, text);
    table.replaceChildren(
      play.make('thead', {}, play.make('tr', {}, ...heads.map(head => play.make('th', { scope: 'col' }, head)))),
      play.make('tbody', {}, ...rows.map(row => play.make('tr', {}, ...row.map(cell)))),
    );
  };

  /** A number as the book writes it: a true minus sign, a plus where it is positive. */
  play.signed = value => (value > 0 ? '+' : value < 0 ? '−' : '') + String(+Math.abs(value).toPrecision(3));

  /** A tempo by rule, as text: with a question mark where the clip is not steady, a dash where nothing can be told. */
  play.tempo = function (samples, sampleRate) {
    const found = [0.04, Infinity].map(steady => SteerLive.tempoOf(samples, sampleRate, steady));
    if (Number.isNaN(found[1])) return '–';
    return found[1].toFixed(0) + (Number.isNaN(found[0]) ? ' ?' : '');
  };

  /** Show a sentence in an element, or hide it. */
  play.say = function (element, text) {
    element.textContent = text || '';
    if (element.getAttribute('role') === 'alert') element.hidden = !text;
  };

  /** The colour of a pole: one for the high poles, one for the low ones, as in the book's figures. */
  play.colourOf = (pole, sign) => (sign > 0 ? 'var(--sl-high, #D55E00)' : 'var(--sl-low, #0072B2)');

  /** Offer bytes or text as a file. */
  play.download = function (name, content, type) {
    const link = play.make('a', { download: name, href: URL.createObjectURL(new Blob([content], { type })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  /** What the page says about an error. */
  play.sentence = function (error) {
    if (error instanceof SteerLive.BadInput) return error.message;
    return `That did not work: ${error.message}. Nothing is lost. If it happens again, reload the page.`;
  };
})(SteerPlay);
