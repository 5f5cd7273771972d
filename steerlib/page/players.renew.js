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
