// The blind test, of steerlib.page.explorables: pairs of clips of one prompt and the same random numbers, one of them
// steered, in an order drawn anew; the score is set beside what guessing would make.
document.querySelectorAll('[data-x="blind"]:not([data-ready])').forEach(function (root) {
  root.dataset.ready = 'yes';
  {SVG}
  {LOAD}
  var clips = Array.from(root.querySelectorAll('.sl-clips li'));
  var pairs = [], order = [], number = 0, right = 0, first = 0, position = 0;
  for (var index = 0; index + 1 < clips.length; index += 2) pairs.push([clips[index], clips[index + 1]]);
  one('.sl-live').hidden = false;
  one('.sl-clips').hidden = true;

  function audio(place) { return pairs[order[number]][(place + first) % 2].querySelector('audio'); }
  function hush() { [0, 1].forEach(function (place) { var each = audio(place); if (!each.paused) { position = each.currentTime; each.pause(); } }); }
  function listen(place) {
    hush();
    var wanted = audio(place);
    root.dataset.heard = 'AB'[place];
    load(wanted).then(function () {
      if (root.dataset.heard !== 'AB'[place]) return;
      wanted.currentTime = position % wanted.duration;
      return wanted.play();
    }).catch(complain);
    root.querySelectorAll('.sl-hear').forEach(function (button, at) { button.setAttribute('aria-pressed', at === place ? 'true' : 'false'); });
  }
  function ask() {
    first = Math.random() < 0.5 ? 1 : 0;
    position = 0;
    root.dataset.heard = '';
    one('.sl-ask').textContent = 'Pair ' + (number + 1) + ' of ' + pairs.length + ': which one is steered?';
    root.querySelectorAll('.sl-hear').forEach(function (button) { button.setAttribute('aria-pressed', 'false'); });
  }
  function begin() {
    order = pairs.map(function (_, place) { return place; });
    for (var last = order.length - 1; last > 0; last--) {
      var other = Math.floor(Math.random() * (last + 1)), kept = order[last];
      order[last] = order[other];
      order[other] = kept;
    }
    number = right = 0;
    one('.sl-trial').hidden = false;
    one('.sl-begin').hidden = true;
    one('.sl-score').textContent = '';
    ask();
  }
  function chance(count, of) { // of at least so many right by guessing
    var sum = 0, ways = 1;
    for (var k = 0; k <= of; k++) {
      if (k >= count) sum += ways;
      ways *= (of - k) / (k + 1);
    }
    return sum / Math.pow(2, of);
  }
  function answer(place) {
    hush();
    var correct = place === first, words = pairs[order[number]][0].querySelector('span').textContent;
    right += correct ? 1 : 0;
    number += 1;
    one('.sl-score').textContent = (correct ? 'Right: ' : 'No: ') + 'AB'[first] + ' was steered, ' + words + '. ' + right + ' of ' + number + ' right.';
    if (number < pairs.length) { ask(); return; }
    one('.sl-score').textContent += ' Guessing gets at least that many in ' + Math.round(100 * chance(right, number)) + ' of 100 tries.';
    one('.sl-trial').hidden = true;
    one('.sl-begin').hidden = false;
    one('.sl-begin').textContent = 'Once more';
    number = pairs.length - 1;
  }
  one('.sl-begin').addEventListener('click', begin);
  root.querySelectorAll('.sl-hear').forEach(function (button, place) { button.addEventListener('click', function () { listen(place); }); });
  root.querySelectorAll('.sl-answer').forEach(function (button, place) { button.addEventListener('click', function () { answer(place); }); });
});
