// One sound at a time on the whole page: what begins to play stops all else. Sound that is no audio element says so, and
  // listens, by the event `sl-sound`, whose detail is what plays.
  if (!document.documentElement.dataset.slTransport) {
    document.documentElement.dataset.slTransport = 'yes';
    document.addEventListener('play', function (event) {
      if (!event.target.paused) document.dispatchEvent(new CustomEvent('sl-sound', {detail: event.target}));
    }, true);
    document.addEventListener('sl-sound', function (event) {
      document.querySelectorAll('audio').forEach(function (audio) { if (audio !== event.detail) audio.pause(); });
    });
  }

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

  function complain(error) {
    if (error.name === 'AbortError') return;
    var message = root.querySelector('.sl-error');
    message.textContent = 'This clip could not be played (' + error.message + ').';
    message.hidden = false;
  }
