// The A/B grid of steerlib.page.players; what fetches the clips is players.load.js. The first cell chosen is A, the second
// B; each further one takes the place of the one that is not playing. A change of cell, of prompt, or from A to B
// carries on at the same position in the other clip.
document.querySelectorAll('[data-grid]:not([data-ready])').forEach(function (root) {
  var one = function (selector) { return root.querySelector(selector); };
  var clips = Array.from(root.querySelectorAll('.sl-clips li'));
  var audios = clips.map(function (clip) { return clip.querySelector('audio'); });
  var cells = Array.from(root.querySelectorAll('.sl-cell')), prompt = one('select');
  var columns = cells.length / root.querySelectorAll('tbody tr').length;
  var slots = [-1, -1], active = 0, playing = false, position = 0;
  root.dataset.ready = 'yes';
  one('.sl-live').hidden = false;
  one('.sl-clips').hidden = true;
  {LOAD}
  {RENEW}
  function clipOf(cell) { return Number(prompt.value) * cells.length + cell; }
  function current() { return slots[active] < 0 ? -1 : clipOf(slots[active]); }
  function start() {
    var audio = audios[current()];
    playing = true;
    show();
    load(audio).then(function () {
      if (!playing || audio !== audios[current()]) return;
      audio.currentTime = position % audio.duration;
      return audio.play();
    }).catch(function (error) {
      if (error.name === 'AbortError' || audio !== audios[current()]) return;
      complain(error);
      stop();
    });
  }
  function hush() {
    if (playing) position = audios[current()].currentTime;
    audios.forEach(function (audio) { audio.pause(); });
  }
  function stop() { hush(); playing = false; show(); }
  function choose(cell) {
    hush();
    if (slots[active] === cell) {
      if (playing) { playing = false; show(); return; }
    } else if (slots[1 - active] === cell) {
      active = 1 - active;
    } else {
      if (slots[active] >= 0) active = 1 - active;
      slots[active] = cell;
    }
    start();
  }
  function show() {
    var now = current();
    root.dataset.current = now;
    root.classList.toggle('sl-on', playing);
    cells.forEach(function (cell, index) {
      var slot = slots.indexOf(index), clip = clips[clipOf(index)], on = slot >= 0 && slot === active;
      cell.querySelector('b').textContent = slot < 0 ? '' : 'AB'[slot];
      cell.querySelector('i').textContent = on && playing ? '\u25a0' : '\u25b6';
      cell.querySelector('small').textContent = clip.dataset.value;
      cell.classList.toggle('sl-active', on);
      cell.setAttribute('aria-pressed', on && playing ? 'true' : 'false');
      cell.setAttribute('aria-label', clip.querySelector('span').textContent + (slot < 0 ? '' : ', ' + 'AB'[slot]));
    });
    root.querySelectorAll('.sl-ab li').forEach(function (line, slot) {
      if (slots[slot] >= 0) line.textContent = clips[clipOf(slots[slot])].querySelector('span').textContent;
      line.classList.toggle('sl-active', slot === active && slots[slot] >= 0);
    });
    one('.sl-switch').disabled = slots[0] < 0 || slots[1] < 0;
  }
  cells.forEach(function (cell, index) {
    cell.addEventListener('click', function () { choose(index); });
    cell.addEventListener('focus', function () {
      cells.forEach(function (other) { other.tabIndex = other === cell ? 0 : -1; });
    });
    cell.addEventListener('keydown', function (event) {
      var column = index % columns, last = cells.length - 1;
      var to = {ArrowRight: column < columns - 1 ? index + 1 : index, ArrowLeft: column ? index - 1 : index,
        ArrowDown: index + columns, ArrowUp: index - columns,
        Home: index - column, End: index - column + columns - 1}[event.key];
      if (to === undefined) return;
      event.preventDefault();
      if (to >= 0 && to <= last) cells[to].focus();
    });
  });
  prompt.addEventListener('change', function () {
    audios.forEach(function (audio) { if (playing && !audio.paused) position = audio.currentTime; audio.pause(); });
    if (playing) start(); else show();
  });
  one('.sl-switch').addEventListener('click', function () { choose(slots[1 - active]); });
  audios.forEach(function (audio) {
    audio.addEventListener('timeupdate', function () {
      if (audio === audios[current()]) one('.sl-position i').style.width = 100 * audio.currentTime / audio.duration + '%';
    });
  });
  document.addEventListener('sl-sound', function (event) {
    if (playing && audios.indexOf(event.detail) < 0) stop();
  });
  show();
});
