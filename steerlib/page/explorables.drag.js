// DiffMean with points to drag, of steerlib.page.explorables: the means and the arrow between them follow.
document.querySelectorAll('[data-x="drag"]:not([data-ready])').forEach(function (root) {
  root.dataset.ready = 'yes';
  {SVG}
  var data = JSON.parse(one('script[type="application/json"]').textContent), stage = one('.sl-stage'), range = one('input');
  var points = data.points.map(function (point) { return {x: point[0], y: point[1], high: point[2], text: point[3]}; });
  var all = points.map(function (point) { return [point.x, point.y]; });
  var reach = [0, 1].map(function (axis) { return Math.max.apply(null, all.map(function (place) { return Math.abs(place[axis]); })) || 1; });
  var svg = draw('svg', {role: 'group', 'aria-label': 'Prompts as points in a plane; drag a point, or move it with the arrow keys'});
  stage.append(svg);
  var wide = 0, high = 0, scale = 1, handles = [];
  one('.sl-live').hidden = false;

  function x(value) { return wide / 2 + value * scale; }
  function y(value) { return high / 2 - value * scale; }
  function mean(side) {
    var own = points.filter(function (point) { return point.high === side; });
    return [0, 1].map(function (axis) {
      return own.reduce(function (sum, point) { return sum + (axis ? point.y : point.x); }, 0) / own.length;
    });
  }
  function build() {
    wide = stage.clientWidth;
    if (!wide) return;
    high = Math.min(420, Math.max(280, wide * 0.62));
    scale = 0.75 * Math.min(wide / 2 / reach[0], high / 2 / reach[1]);
    svg.setAttribute('width', wide);
    svg.setAttribute('height', high);
    show();
  }
  var marks = draw('g', {});
  svg.append(marks);
  points.forEach(function (point) {
    var handle = draw('circle', {r: 11, tabindex: 0, role: 'button', class: 'sl-point ' + (point.high ? 'sl-high' : 'sl-low'),
      'aria-label': data.poles[point.high ? 0 : 1] + ': ' + point.text + '. Arrow keys move it.'});
    handle.append(draw('title', {}, point.text));
    var held = false;
    function move(dx, dy) {
      var edge = [(wide / 2 - 12) / scale, (high / 2 - 12) / scale];
      point.x = Math.max(-edge[0], Math.min(edge[0], point.x + dx));
      point.y = Math.max(-edge[1], Math.min(edge[1], point.y + dy));
      show();
    }
    handle.addEventListener('pointerdown', function (event) { held = true; handle.setPointerCapture(event.pointerId); event.preventDefault(); handle.focus(); });
    handle.addEventListener('pointermove', function (event) {
      if (!held) return;
      var place = svg.getBoundingClientRect();
      move((event.clientX - place.left - wide / 2) / scale - point.x, (high / 2 - event.clientY + place.top) / scale - point.y);
    });
    ['pointerup', 'pointercancel'].forEach(function (name) { handle.addEventListener(name, function () { held = false; }); });
    handle.addEventListener('keydown', function (event) {
      var step = 12 / scale, by = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step]}[event.key];
      if (!by) return;
      event.preventDefault();
      move(by[0], by[1]);
    });
    handles.push(handle);
    svg.append(handle);
  });
  function cross(place, kind) {
    return draw('path', {d: 'M' + (x(place[0]) - 8) + ' ' + y(place[1]) + 'h16m-8 -8v16', class: 'sl-cross ' + kind});
  }
  function arrow(from, to, kind) {
    var angle = Math.atan2(y(to[1]) - y(from[1]), x(to[0]) - x(from[0])), tip = [x(to[0]), y(to[1])];
    var wing = function (turn) { return (tip[0] - 12 * Math.cos(angle + turn)).toFixed(1) + ' ' + (tip[1] - 12 * Math.sin(angle + turn)).toFixed(1); };
    return draw('path', {class: kind, d: 'M' + x(from[0]) + ' ' + y(from[1]) + 'L' + tip.join(' ') + 'M' + wing(0.42) + 'L' + tip.join(' ') + 'L' + wing(-0.42)});
  }
  function show() {
    if (!wide) return;
    var top = mean(true), bottom = mean(false), delta = [top[0] - bottom[0], top[1] - bottom[1]];
    var along = function (point) { return point.x * delta[0] + point.y * delta[1]; };
    var right = 0, pairs = 0;
    points.forEach(function (a) {
      points.forEach(function (b) {
        if (!a.high || b.high) return;
        pairs += 1;
        right += along(a) > along(b) ? 1 : along(a) === along(b) ? 0.5 : 0;
      });
    });
    var lambda = Number(range.value), start = points.filter(function (point) { return !point.high; })[0];
    var end = [start.x + lambda * delta[0], start.y + lambda * delta[1]];
    var parts = [cross(top, 'sl-high'), cross(bottom, 'sl-low'), arrow(bottom, top, 'sl-arrow')];
    if (lambda) parts.push(arrow([start.x, start.y], end, 'sl-arrow sl-thin'), draw('circle', {cx: x(end[0]), cy: y(end[1]), r: 8, class: 'sl-ring'}));
    parts.push(draw('text', {x: x((top[0] + bottom[0]) / 2) + 10, y: y((top[1] + bottom[1]) / 2) - 8, class: 'sl-delta'}, '\u0394'));
    marks.replaceChildren.apply(marks, parts);
    handles.forEach(function (handle, index) {
      handle.setAttribute('cx', x(points[index].x));
      handle.setAttribute('cy', y(points[index].y));
    });
    one('.sl-length').textContent = Math.hypot(delta[0], delta[1]).toFixed(2);
    one('.sl-order').textContent = right + ' of ' + pairs;
    one('.sl-lambda').textContent = '\u03bb = ' + signed(lambda, 1);
  }
  range.addEventListener('input', show);
  one('.sl-quiet').addEventListener('click', function () {
    points.forEach(function (point, index) { point.x = all[index][0]; point.y = all[index][1]; });
    range.value = 0;
    show();
  });
  whenSized(stage, build);
});
