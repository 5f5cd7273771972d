// Curves under the slider, one below the other: the points stand below the slider's stops, and a press on one plays its
  // clip. Drawn again when the width changes, so that text keeps its size.
  var holder = one('.sl-curves'), curves = holder ? JSON.parse(holder.querySelector('script').textContent) : [];
  function draw(tag, attributes, text) {
    var element = document.createElementNS('http:/' + '/www.w3.org/2000/svg', tag);
    Object.keys(attributes).forEach(function (name) { element.setAttribute(name, attributes[name]); });
    if (text !== undefined) element.textContent = text;
    return element;
  }
  function short(value) {
    if (value === null) return '\u2013';
    return (Math.abs(value) >= 100 ? value.toFixed(0) : String(+value.toPrecision(3))).replace('-', '\u2212');
  }
  function curve(data, box) {
    var wide = box.clientWidth, high = 104, last = data.mean.length - 1;
    if (!wide) return;
    var known = data.low.concat(data.high, data.mean).filter(function (value) { return value !== null; });
    var least = Math.min.apply(null, known), most = Math.max.apply(null, known);
    var x = function (index) { return 8 + (wide - 16) * (last ? index / last : 0.5); };
    var y = function (value) { return 18 + (high - 38) * (1 - (value - least) / ((most - least) || 1)); };
    var svg = draw('svg', {width: wide, height: high, 'aria-hidden': 'true'});
    var half = last ? (x(1) - x(0)) / 2 : 8;
    data.worse.forEach(function (index) {
      var from = Math.max(0, x(index) - half);
      svg.append(draw('rect', {x: from, y: 0, width: Math.min(wide, x(index) + half) - from, height: high, class: 'sl-worse'}));
    });
    var seen = data.mean.map(function (_, index) { return index; }).filter(function (index) { return data.mean[index] !== null; });
    var path = function (values, indices) {
      return indices.map(function (index) { return x(index).toFixed(1) + ' ' + y(values[index]).toFixed(1); }).join('L');
    };
    svg.append(draw('path', {class: 'sl-band', d: 'M' + path(data.low, seen) + 'L' + path(data.high, seen.slice().reverse()) + 'Z'}));
    svg.append(draw('path', {class: 'sl-line', d: 'M' + path(data.mean, seen)}));
    svg.append(draw('text', {x: 2, y: 12}, short(most)), draw('text', {x: 2, y: high - 2}, short(least)));
    seen.forEach(function (index) {
      var value = Number(clips[index].dataset.lambda.replace('\u2212', '-'));
      var point = draw('circle', {cx: x(index), cy: y(data.mean[index]), r: index === current ? 7 : 4.5,
        class: value > 0 ? 'sl-high' : value < 0 ? 'sl-low' : 'sl-none', 'data-index': index});
      var target = draw('rect', {x: x(index) - half, y: 0, width: 2 * half, height: high, class: 'sl-target', 'data-index': index});
      target.addEventListener('click', function () { choose(index, true); });
      svg.append(point, target);
    });
    box.querySelector('div').replaceChildren(svg);
    box.querySelector('output').textContent = short(data.mean[current]) + (data.unit ? ' ' + data.unit : '') +
      (data.low[current] < data.high[current] ? ' [' + short(data.low[current]) + ', ' + short(data.high[current]) + ']' : '') +
      (data.worse.indexOf(current) < 0 ? '' : ': measurably worse');
  }
  function drawCurves() {
    if (holder) holder.querySelectorAll('.sl-curve').forEach(function (box, index) { curve(curves[index], box); });
  }
  if (holder && window.ResizeObserver) new ResizeObserver(drawCurves).observe(holder);
