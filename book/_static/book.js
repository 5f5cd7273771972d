// What every page does in the browser: one switch for its code, off until it is asked for; the columns of a wide table at a
// press; formulas, where there are any; and whatever scrolls can be reached with the keyboard. Loaded in the head, so that
// no code flashes up.
(function () {
  var root = document.documentElement;
  function kept() {
    try { return localStorage.getItem('sl-code'); } catch (error) { return null; }
  }
  root.dataset.code = kept() === 'on' ? 'on' : 'off';

  function make(name, text) {
    var button = document.createElement('button');
    button.type = 'button';
    button.className = name;
    button.textContent = text;
    return button;
  }

  function codeSwitch() {
    var place = document.querySelector('.article-header-buttons');
    if (!place || !document.querySelector('.cell > .cell_input, .cell > details.hide')) return;
    var button = make('sl-code-switch', 'Code');
    function show() {
      button.setAttribute('aria-pressed', root.dataset.code === 'on' ? 'true' : 'false');
      button.title = root.dataset.code === 'on' ? 'Hide the code' : 'Show the code';
    }
    button.addEventListener('click', function () {
      root.dataset.code = root.dataset.code === 'on' ? 'off' : 'on';
      try { localStorage.setItem('sl-code', root.dataset.code); } catch (error) { /* not kept, then */ }
      show();
      reachable();
    });
    place.prepend(button);
    show();
  }

  function tables() {
    document.querySelectorAll('table.sl-wide').forEach(function (table) {
      var columns = 0;
      table.querySelectorAll('tr').forEach(function (row) { columns = Math.max(columns, row.cells.length); });
      var button = make('sl-columns', 'Show all ' + columns + ' columns');
      button.setAttribute('aria-expanded', 'false');
      button.addEventListener('click', function () {
        var all = table.classList.toggle('sl-all');
        button.setAttribute('aria-expanded', all ? 'true' : 'false');
        button.textContent = all ? 'Show seven columns' : 'Show all ' + columns + ' columns';
        reachable();
      });
      table.parentNode.after(button);
    });
  }

  function formulas() {
    if (!window.katex) return;
    var style = document.createElement('link');
    style.rel = 'stylesheet';
    style.href = document.querySelector('script[src*="katex.min.js"]').src.replace(/katex\.min\.js.*/, 'katex.min.css');
    document.head.append(style);
    document.querySelectorAll('.math').forEach(function (place) {
      Array.from(place.childNodes).filter(function (node) { return node.nodeType === 3 && node.data.trim(); }).forEach(function (text) {
        var found = /^\s*\\([[(])([^]*)\\[\])]\s*$/.exec(text.data);
        if (!found) return;
        var drawn = document.createElement('span');
        window.katex.render(found[2], drawn, {displayMode: found[1] === '[', throwOnError: false});
        text.replaceWith(drawn);
      });
    });
  }

  function reachable() {
    document.querySelectorAll('.bd-article :is(pre, .sl-table, .sl-frame, div.math, .pst-scrollable-table-container)').forEach(function (part) {
      if (part.scrollWidth > part.clientWidth + 1) {
        part.tabIndex = 0;
        if (part.tagName !== 'PRE') part.setAttribute('role', 'region');
        part.setAttribute('aria-label', 'Scrolls sideways');
      }
    });
  }

  // The theme gives the buttons that unfold its table of contents no name.
  function named() {
    document.querySelectorAll('summary').forEach(function (button) {
      if (!button.textContent.trim()) button.setAttribute('aria-label', 'Pages below this one');
    });
  }

  document.addEventListener('DOMContentLoaded', function () {
    named();
    codeSwitch();
    tables();
    formulas();
    reachable();
    addEventListener('load', reachable);
    addEventListener('resize', reachable);
  });
})();
