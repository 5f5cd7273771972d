// A film through the layers, of steerlib.page.explorables: the same prompts at each layer, on two principal components.
document.querySelectorAll('[data-x="film"]:not([data-ready])').forEach(function (root) {
  root.dataset.ready = 'yes';
  {SVG}
  var data = JSON.parse(one('script[type="application/json"]').textContent), stage = one('.sl-stage'), range = one('input');
  var last = data.layers.length - 1, now = Number(range.value), timer = null, frame = null, wide = 0, high = 0;
  var still = window.matchMedia && matchMedia('(prefers-reduced-motion: reduce)').matches;
  var svg = draw('svg', {'aria-hidden': 'true'}), said = one('.sl-said');
  var dots = data.prompts.map(function (prompt, index) {
    var dot = draw('circle', {r: 5, class: 'sl-dot ' + (data.high[index] ? 'sl-high' : 'sl-low')});
    ['pointerenter', 'click'].forEach(function (name) {
      dot.addEventListener(name, function () { said.textContent = '\u201c' + prompt + '\u201d'; });
    });
    svg.append(dot);
    return dot;
  });
  stage.append(svg);
  one('.sl-live').hidden = false;

  function place(at) {
    var low = Math.floor(at), up = Math.min(last, low + 1), share = at - low, a = data.layers[low], b = data.layers[up];
    dots.forEach(function (dot, index) {
      var x = a.points[index][0] * (1 - share) + b.points[index][0] * share, y = a.points[index][1] * (1 - share) + b.points[index][1] * share;
      dot.setAttribute('cx', wide / 2 + x * (wide / 2 - 12));
      dot.setAttribute('cy', high / 2 - y * (high / 2 - 12));
    });
  }
  function show(to) {
    var from = now, began = null, layer = data.layers[to];
    now = to;
    range.value = to;
    range.setAttribute('aria-valuetext', 'layer ' + layer.layer + ': ' + layer.said);
    root.dataset.layer = layer.layer;
    one('.sl-layer').textContent = 'layer ' + layer.layer;
    one('.sl-state').textContent = layer.said;
    cancelAnimationFrame(frame);
    if (still || from === to) { place(to); return; }
    (function step(time) {
      began = began || time || 0;
      var share = time ? Math.min(1, (time - began) / 500) : 0, eased = share * share * (3 - 2 * share);
      place(from + (to - from) * eased);
      if (share < 1) frame = requestAnimationFrame(step);
    })();
  }
  function stop() {
    clearInterval(timer);
    timer = null;
    root.classList.remove('sl-on');
  }
  one('.sl-play').addEventListener('click', function () {
    if (timer) { stop(); return; }
    root.classList.add('sl-on');
    show(now < last ? now + 1 : 0);
    timer = setInterval(function () { if (now < last) show(now + 1); else stop(); }, 1100);
  });
  range.addEventListener('input', function () { stop(); show(Number(range.value)); });
  whenSized(stage, function () {
    wide = stage.clientWidth;
    if (!wide) return;
    high = Math.min(440, Math.max(260, wide * 0.6));
    svg.setAttribute('width', wide);
    svg.setAttribute('height', high);
    place(now);
  });
  show(now);
});
