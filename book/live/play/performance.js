// λ moved while the music plays: sound is put together from chunks as the worker writes them, a little ahead of the ear.
(function (play) {
  'use strict';

  const LEAD = 0.25; // s of sound that is there before the first is heard
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
    const { frameRate, sampleRate } = model,
      ahead = model.lag + SPARE + Math.ceil(LEAD * frameRate);
    const heard = () => (began === null ? 0 : Math.max(0, (context.currentTime - began) * frameRate));
    const playing = new Set();
    let began = null;

    const performance = model.perform(
      {
        ...request,
        onSound({ from, samples }) {
          if (began === null) began = context.currentTime + LEAD;
          let at = began + from / frameRate;
          if (at < context.currentTime + 0.02) {
            // writing was too slow: what follows comes later
            began += context.currentTime + LEAD - at;
            at = began + from / frameRate;
          }
          const buffer = context.createBuffer(1, samples.length, sampleRate),
            source = context.createBufferSource();
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

    const timer = setInterval(() => {
      performance.heard(heard());
      tell.played(heard());
    }, 40);
    const quiet = () => playing.forEach(source => source.stop());
    const end = clip =>
      new Promise(resolve => {
        // the clip is over when its last sound is
        const rest = began === null ? 0 : began + clip.audio.length / sampleRate - context.currentTime;
        setTimeout(() => resolve(clip), Math.max(0, 1000 * rest));
      });
    const stopped = new Promise((_, reject) => {
      request.signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')), { once: true });
    });
    const clip = Promise.race([performance.clip.then(end), stopped]).finally(() => {
      clearInterval(timer);
      if (request.signal.aborted) quiet();
    });
    performance.clip.catch(() => {}); // `clip` tells
    return { turn: performance.turn, clip };
  };
})(SteerPlay);
