// A clip is fetched into memory when it is first needed, because not every server lets a browser jump to a
  // position in a file; from a file itself that always works.
  var loaded = new Map();
  function load(audio) {
    if (loaded.has(audio)) return loaded.get(audio);
    var local = root.make || !/^https?:/.test(audio.src);
    var bytes = root.make ? root.make(audios.indexOf(audio)) : local ? Promise.resolve(audio.src) : fetch(audio.src).then(function (answer) {
      if (!answer.ok) throw new Error(answer.status);
      return answer.blob();
    }).then(function (blob) { return URL.createObjectURL(blob); });
    var promise = bytes.then(function (source) {
      return new Promise(function (done, failed) {
        audio.addEventListener('loadedmetadata', done, {once: true});
        audio.addEventListener('error', function () { failed(new Error('not readable')); }, {once: true});
        audio.preload = 'auto';
        if (audio.src !== source) audio.src = source;
        audio.load();
      });
    });
    promise.catch(function () { loaded.delete(audio); });
    loaded.set(audio, promise);
    return promise;
  }
  // What is on the page gives way to clips that `make` (their index -> an address) makes, or comes back if it is null.
  var given = audios.map(function (audio) { return audio.src; });
  root.renew = function (make) {
    if (playing) stop();
    root.make = make;
    loaded.clear();
    position = 0;
    if (!make) audios.forEach(function (audio, index) { audio.src = given[index]; audio.volume = 1; });
    show();
  };
  root.show = function () { show(); };
