// The λ slider of steerlib.page.players; what fetches the clips is players.load.js, what draws curves players.curves.js.
// In the template, data-lm-suppress-shortcuts keeps JupyterLab from taking the arrow keys and the space bar.
document.querySelectorAll('[data-slider]:not([data-ready])').forEach(function (root) {
  var one = function (selector) { return root.querySelector(selector); };
  var clips = Array.from(root.querySelectorAll('.sl-clips li'));
  var audios = clips.map(function (clip) { return clip.querySelector('audio'); });
  var pictures = root.querySelectorAll('.sl-picture');
  var range = one('input'), current = Number(range.value), playing = false, position = 0;
  root.dataset.ready = 'yes';
  one('.sl-live').hidden = false;
  one('.sl-clips').hidden = true;

  {LOAD}
  {RENEW}
  {CURVES_SCRIPT}
  function start() {
    var audio = audios[current];
    playing = true;
    show();
    load(audio).then(function () {
      if (!playing || audio !== audios[current]) return;
      audio.currentTime = position % audio.duration;
      return audio.play().then(follow);
    }).catch(function (error) {
      if (error.name === 'AbortError' || audio !== audios[current]) return;
      complain(error);
      stop();
    });
    audios.forEach(function (other) { load(other).catch(function () {}); });
  }
  function stop() {
    if (playing) position = audios[current].currentTime;
    playing = false;
    audios.forEach(function (audio) { audio.pause(); });
    show();
  }
  function toggle() { if (playing) stop(); else start(); }
  function choose(index, play) {
    if (playing) position = audios[current].currentTime;
    audios[current].pause();
    current = index;
    range.value = index;
    if (playing || play) start(); else show();
  }
  function follow() {
    var audio = audios[current], seconds = Number(clips[current].dataset.seconds), at = playing ? audio.currentTime : position;
    one('.sl-position i').style.width = one('.sl-pictures > i').style.left = 100 * at / seconds + '%';
    if (playing) requestAnimationFrame(follow);
  }
  function show() {
    var clip = clips[current], value = Number(clip.dataset.lambda.replace('\u2212', '-'));
    root.classList.toggle('sl-on', playing);
    root.dataset.current = current;
    one('.sl-poles strong').textContent = '\u03bb = ' + clip.dataset.lambda;
    one('.sl-values').replaceChildren.apply(one('.sl-values'), clip.dataset.values.split('|').filter(Boolean).concat(
      Number(clip.dataset.seconds).toFixed(1) + ' s').map(
      function (text) { var span = document.createElement('span'); span.textContent = text; return span; }));
    range.setAttribute('aria-valuetext', clip.querySelector('span').textContent);
    range.style.accentColor = value > 0 ? 'var(--sl-positive)' : value < 0 ? 'var(--sl-negative)' : '#666';
    pictures.forEach(function (picture, index) { picture.classList.toggle('sl-shown', index === current); });
    drawCurves();
  }
  range.addEventListener('input', function () { choose(Number(range.value), false); });
  range.addEventListener('keydown', function (event) {
    if (event.key === ' ') { event.preventDefault(); toggle(); }
  });
  one('.sl-play').addEventListener('click', toggle);
  document.addEventListener('sl-sound', function (event) {
    if (playing && audios.indexOf(event.detail) < 0) stop();
  });
  show();
});
