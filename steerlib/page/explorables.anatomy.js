// The anatomy of the model, of steerlib.page.explorables: a press on a part says what it is, and the delay pattern fills
// step by step.
document.querySelectorAll('[data-x="anatomy"]:not([data-ready])').forEach(function (root) {
  root.dataset.ready = 'yes';
  {SVG}
  var data = JSON.parse(one('script[type="application/json"]').textContent), stage = one('.sl-stage'), range = one('input');
  var parts = Array.from(root.querySelectorAll('.sl-part')), told = one('.sl-told'), timer = null;
  var rows = data.tokens.length, frames = data.tokens[0].length, steps = frames + rows - 1;
  one('.sl-live').hidden = false;
  parts.forEach(function (part, index) {
    part.addEventListener('click', function () {
      parts.forEach(function (other) { other.setAttribute('aria-pressed', other === part ? 'true' : 'false'); });
      told.textContent = data.told[index];
    });
  });
  parts[0].click();

  var svg = draw('svg', {role: 'img'});
  stage.append(svg);
  function show() {
    var now = Number(range.value), left = 92, wide = Math.max(stage.clientWidth, left + steps * 22), cell = (wide - left) / steps;
    if (!stage.clientWidth) return;
    svg.setAttribute('width', wide);
    svg.setAttribute('height', rows * 26 + 24);
    var drawn = [];
    data.tokens.forEach(function (row, book) {
      drawn.push(draw('text', {x: 0, y: book * 26 + 17}, 'codebook ' + (book + 1)));
      row.forEach(function (token, frame) {
        var step = frame + book, filled = step < now;
        drawn.push(draw('rect', {x: left + step * cell + 1, y: book * 26 + 2, width: cell - 2, height: 22, rx: 2,
          class: 'sl-token' + (step === now - 1 ? ' sl-now' : ''), 'fill-opacity': filled ? (0.18 + 0.6 * token / data.entries).toFixed(2) : 0}));
        if (filled) drawn.push(draw('text', {x: left + (step + 0.5) * cell, y: book * 26 + 17, 'text-anchor': 'middle'}, frame + 1));
      });
    });
    drawn.push(draw('text', {x: left, y: rows * 26 + 18}, 'step 1'), draw('text', {x: wide, y: rows * 26 + 18, 'text-anchor': 'end'}, 'step ' + steps));
    svg.replaceChildren.apply(svg, drawn);
    var written = [];
    for (var book = 0; book < rows; book++) {
      var frame = now - 1 - book;
      if (frame >= 0 && frame < frames) written.push('codebook ' + (book + 1) + ' of frame ' + (frame + 1));
    }
    var text = now === 0 ? 'Nothing is written yet.' : 'Step ' + now + ' writes ' + (written.length > 3 ?
      written.slice(0, 2).join(', ') + ', \u2026, ' + written[written.length - 1] : written.join(', ')) + '. Complete: ' +
      Math.max(0, Math.min(frames, now - rows + 1)) + ' of ' + frames + ' frames.';
    one('.sl-state').textContent = text;
    svg.setAttribute('aria-label', text);
    range.setAttribute('aria-valuetext', text);
    root.dataset.step = now;
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    one('.sl-fill').classList.remove('sl-on');
  }
  one('.sl-fill .sl-play').addEventListener('click', function () {
    if (timer) { stop(); return; }
    one('.sl-fill').classList.add('sl-on');
    if (Number(range.value) >= steps) range.value = 0;
    timer = setInterval(function () {
      if (Number(range.value) >= steps) { stop(); return; }
      range.value = Number(range.value) + 1;
      show();
    }, 500);
  });
  range.addEventListener('input', function () { stop(); show(); });
  whenSized(stage, show);
});
