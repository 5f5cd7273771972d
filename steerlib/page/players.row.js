// Players side by side, of steerlib.page.players; what fetches the clips is players.load.js. A press on a picture goes to
// that place in the music. The titles can be hidden, and the players change places, for those who want to guess.
document.querySelectorAll('[data-players]:not([data-ready])').forEach(function (root) {
  var boxes = Array.from(root.querySelectorAll('.sl-player')), guess = root.querySelector('.sl-guess');
  root.dataset.ready = 'yes';
  {LOAD}
  boxes.forEach(function (box, number) {
    var audio = box.querySelector('audio'), button = box.querySelector('.sl-play'), seek = box.querySelector('.sl-seek');
    var mark = box.querySelector('.sl-seek i'), time = box.querySelector('.sl-time'), name = box.querySelector('.sl-title');
    var seconds = Number(box.dataset.seconds), wanted = 0, title = name.textContent;
    audio.hidden = true;
    box.querySelector('.sl-live').hidden = false;

    function start() {
      load(audio).then(function () {
        audio.currentTime = wanted;
        return audio.play();
      }).catch(complain);
    }
    function toggle() { if (audio.paused) start(); else audio.pause(); }
    function show() {
      var at = audio.paused ? wanted : audio.currentTime;
      mark.style.left = 100 * at / seconds + '%';
      time.textContent = (at ? at.toFixed(1) + ' / ' : '') + seconds.toFixed(1) + ' s';
      seek.setAttribute('aria-valuenow', at.toFixed(1));
      seek.setAttribute('aria-valuetext', at.toFixed(1) + ' of ' + seconds.toFixed(1) + ' seconds');
      if (!audio.paused) requestAnimationFrame(show);
    }
    function go(to) {
      wanted = Math.max(0, Math.min(seconds - 0.05, to));
      if (audio.paused) show(); else audio.currentTime = wanted;
    }
    audio.addEventListener('play', function () { box.classList.add('sl-on'); show(); });
    audio.addEventListener('pause', function () {
      wanted = audio.ended ? 0 : audio.currentTime;
      box.classList.remove('sl-on');
      show();
    });
    button.addEventListener('click', toggle);
    seek.addEventListener('click', function (event) {
      var place = seek.getBoundingClientRect();
      go(seconds * (event.clientX - place.left) / place.width);
      if (audio.paused) start();
    });
    seek.addEventListener('keydown', function (event) {
      var at = audio.paused ? wanted : audio.currentTime;
      var to = {ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0, End: seconds}[event.key];
      if (to === undefined && event.key !== ' ') return;
      event.preventDefault();
      if (event.key === ' ') toggle(); else go(to);
    });
    box.call = function (hidden, place) {
      var text = hidden ? 'Clip ' + (place + 1) : title, picture = seek.querySelector('img');
      name.textContent = text;
      audio.setAttribute('aria-label', text);
      button.setAttribute('aria-label', 'Play or pause: ' + text);
      seek.setAttribute('aria-label', 'Position in: ' + text);
      if (!picture) return;
      picture.dataset.alt = picture.dataset.alt || picture.alt;
      picture.alt = hidden ? 'Mel spectrogram' : picture.dataset.alt;
    };
    show();
  });
  if (!guess) return;
  guess.parentNode.hidden = false;
  guess.addEventListener('click', function () {
    var hidden = guess.getAttribute('aria-pressed') !== 'true', order = boxes.slice();
    guess.setAttribute('aria-pressed', hidden ? 'true' : 'false');
    guess.textContent = hidden ? 'Show the titles' : 'Hide the titles';
    if (hidden) for (var last = order.length - 1; last > 0; last--) {
      var other = Math.floor(Math.random() * (last + 1)), kept = order[last];
      order[last] = order[other];
      order[other] = kept;
    }
    order.forEach(function (box, place) { box.call(hidden, place); box.parentNode.appendChild(box); });
  });
});
