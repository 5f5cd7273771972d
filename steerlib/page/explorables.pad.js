// The pad of two attributes, of steerlib.page.explorables: each cell is a clip; drag over them, or use the arrow keys.
document.querySelectorAll('[data-x="pad"]:not([data-ready])').forEach(function (root) {
  root.dataset.ready = 'yes';
  {SVG}
  {LOAD}
  var clips = Array.from(root.querySelectorAll('.sl-clips li'));
  var audios = clips.map(function (clip) { return clip.querySelector('audio'); });
  var cells = Array.from(root.querySelectorAll('.sl-square')), prompt = one('select'), pad = one('.sl-pad');
  var columns = Number(root.dataset.columns), current = Math.floor(cells.length / 2), playing = false, position = 0, held = false;
  one('.sl-live').hidden = false;
  one('.sl-clips').hidden = true;

  function clip() { return Number(prompt.value) * cells.length + current; }
  function hush() {
    audios.forEach(function (audio) { if (!audio.paused) { position = audio.currentTime; audio.pause(); } });
  }
  function start() {
    var number = clip(), audio = audios[number];
    playing = true;
    show();
    load(audio).then(function () {
      if (!playing || number !== clip()) return;
      audio.currentTime = position % audio.duration;
      return audio.play();
    }).catch(function (error) { complain(error); stop(); });
  }
  function stop() { hush(); playing = false; show(); }
  function choose(cell, play) {
    if (cell !== current) hush();
    current = cell;
    if (play || playing) start(); else show();
  }
  function show() {
    root.dataset.current = clip();
    root.classList.toggle('sl-on', playing);
    cells.forEach(function (cell, index) {
      var item = clips[Number(prompt.value) * cells.length + index];
      cell.tabIndex = index === current ? 0 : -1;
      cell.classList.toggle('sl-active', index === current);
      cell.setAttribute('aria-pressed', index === current && playing ? 'true' : 'false');
      cell.setAttribute('aria-label', item.querySelector('span').textContent);
      cell.querySelector('b').textContent = item.dataset.first;
      cell.querySelector('small').textContent = item.dataset.second;
    });
    one('.sl-said').textContent = clips[clip()].querySelector('span').textContent;
  }
  cells.forEach(function (cell, index) {
    cell.addEventListener('click', function () {
      if (held) return;
      if (playing && index === current) stop(); else choose(index, true);
    });
    cell.addEventListener('keydown', function (event) {
      var column = index % columns;
      var to = {ArrowRight: column < columns - 1 ? index + 1 : index, ArrowLeft: column ? index - 1 : index,
        ArrowDown: index + columns, ArrowUp: index - columns}[event.key];
      if (to === undefined) return;
      event.preventDefault();
      if (to >= 0 && to < cells.length) { choose(to, false); cells[to].focus(); }
    });
  });
  pad.addEventListener('pointermove', function (event) {
    if (!event.buttons) return;
    var under = document.elementFromPoint(event.clientX, event.clientY), cell = under && under.closest('.sl-square');
    var index = cells.indexOf(cell);
    if (index < 0 || index === current) return;
    held = true;
    choose(index, true);
  });
  pad.addEventListener('pointerdown', function (event) {
    held = false;
    if (event.target.hasPointerCapture && event.target.hasPointerCapture(event.pointerId)) event.target.releasePointerCapture(event.pointerId);
  });
  prompt.addEventListener('change', function () { hush(); if (playing) start(); else show(); });
  document.addEventListener('sl-sound', function (event) { if (playing && audios.indexOf(event.detail) < 0) stop(); });
  audios.forEach(function (audio) { audio.loop = true; });
  show();
});
