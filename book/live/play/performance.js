// λ moved while the music plays: sound is put together from chunks as the worker writes them, a little ahead of the ear.
(function (play) {
  'use strict';

  const LEAD = 0.25; // s of sound that is there before the first is heard
  const PATIENCE = 5000; // ms in which a clock of sound that runs has moved
  const SILENT =
    'This browser cannot play sound here: it has no sound device, or may not use one. “Make it” works without sound.';
  const SPARE = 8; // positions that writing may be ahead beyond what sound needs

  /**
   * Play a clip while it is written.
   *
   * @param {LiveModel} model
   * @param {object} request  of `model.perform`
   * @param {AudioContext} context
   * @param {{moved: (seconds: number) => void, played: (frame: number) => void}} tell  after how long a move is heard; how
   *   far the ear is
   * @returns {{turn, clip}}
   */
  play.perform = function (model, request, context, tell) {
    const { frameRate, sampleRate } = model;
    const ahead = model.lag + SPARE + Math.ceil(LEAD * frameRate);
    const heard = () => (began === null ? 0 : Math.max(0, (context.currentTime - began) * frameRate));
    const playing = new Set();
    const writing = new AbortController();
    let began = null;
    let waiting = null; // since when there is sound and the ear has heard none

    const performance = model.perform(
      {
        ...request,
        signal: writing.signal,
        onSound({ from, samples }) {
          if (began === null) began = context.currentTime + LEAD;
          let at = began + from / frameRate;
          if (at < context.currentTime + 0.02) {
            // writing was too slow: what follows comes later
            began += context.currentTime + LEAD - at;
            at = began + from / frameRate;
          }
          const buffer = context.createBuffer(1, samples.length, sampleRate);
          const source = context.createBufferSource();
          buffer.copyToChannel(samples, 0);
          source.buffer = buffer;
          source.connect(context.destination);
          source.start(at);
          playing.add(source);
          source.onended = () => playing.delete(source);
        },
        onTurn: ({ frame }) => tell.moved(Math.max(0, (frame - heard()) / frameRate)),
      },
      { ahead },
    );

    let fail;
    const failed = new Promise((_, reject) => {
      fail = error => {
        writing.abort();
        playing.forEach(source => source.stop());
        reject(error);
      };
    });
    const stop = () => fail(new DOMException('aborted', 'AbortError'));
    request.signal.addEventListener('abort', stop, { once: true });
    const timer = setInterval(() => {
      performance.heard(heard());
      tell.played(heard());
      waiting = began === null || heard() > 0 ? null : (waiting ?? Date.now());
      if (waiting !== null && Date.now() - waiting > PATIENCE) fail(new SteerLive.BadInput(SILENT));
    }, 40);
    const end = async clip => {
      // the clip is over when its last sound is
      const rest = began === null ? 0 : began + clip.audio.length / sampleRate - context.currentTime;
      await new Promise(resolve => setTimeout(resolve, Math.max(0, 1000 * rest)));
      return clip;
    };
    const clip = Promise.race([performance.clip.then(end), failed]).finally(() => {
      clearInterval(timer);
      request.signal.removeEventListener('abort', stop);
    });
    performance.clip.catch(() => {}); // `clip` tells
    return { turn: performance.turn, clip };
  };
})(SteerPlay);
