// The λ slider of steerlib.page.players; what fetches the clips is players.load.js.
// In the template, data-lm-suppress-shortcuts keeps JupyterLab from taking the arrow keys and the space bar.
document.querySelectorAll('[data-slider="{IDENTITY}"]:not([data-ready])').forEach(function (root) {
  var one = function (selector) { return root.querySelector(selector); };
  var clips = Array.from(root.querySelectorAll('.sl-clips li'));
  var audios = clips.map(function (clip) { return clip.querySelector('audio'); });
  var pictures = root.querySelectorAll('.sl-picture');
  var range = one('input'), current = Number(range.value), playing = false, position = 0;
  root.dataset.ready = 'yes';
  one('.sl-live').hidden = false;
  one('.sl-clips').hidden = true;

  {LOAD}
  function start() {
    var audio = audios[current];
    playing = true;
    show();
    load(audio).then(function () {
      if (!playing || audio !== audios[current]) return;
      audio.currentTime = position % audio.duration;
      return audio.play();
    }).catch(function (error) {
      if (error.name === 'AbortError' || audio !== audios[current]) return;
      one('.sl-error').textContent = 'This clip could not be played (' + error.message + ').';
      one('.sl-error').hidden = false;
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
  function show() {
    var clip = clips[current], value = Number(clip.dataset.lambda.replace('\u2212', '-'));
    root.classList.toggle('sl-on', playing);
    root.dataset.current = current;
    one('.sl-poles strong').textContent = '\u03bb = ' + clip.dataset.lambda;
    one('.sl-values').replaceChildren.apply(one('.sl-values'), clip.dataset.values.split('|').filter(Boolean).map(
      function (text) { var span = document.createElement('span'); span.textContent = text; return span; }));
    range.setAttribute('aria-valuetext', clip.querySelector('span').textContent);
    range.style.accentColor = value > 0 ? 'var(--sl-positive)' : value < 0 ? 'var(--sl-negative)' : '#666';
    pictures.forEach(function (picture, index) { picture.classList.toggle('sl-shown', index === current); });
  }
  range.addEventListener('input', function () {
    if (playing) position = audios[current].currentTime;
    audios[current].pause();
    current = Number(range.value);
    if (playing) start(); else show();
  });
  range.addEventListener('keydown', function (event) {
    if (event.key === ' ') { event.preventDefault(); toggle(); }
  });
  one('.sl-play').addEventListener('click', toggle);
  audios.forEach(function (audio) {
    audio.addEventListener('timeupdate', function () {
      if (audio === audios[current]) one('.sl-position i').style.width = 100 * audio.currentTime / audio.duration + '%';
    });
  });
  document.addEventListener('play', function (event) {
    if (playing && event.target !== audios[current]) stop();
  }, true);
  show();
});
