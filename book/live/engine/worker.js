// The worker: it holds the model and writes clips, so that the page never freezes. `interface.js` talks to it.
SteerLive.part(function (live) {
  'use strict';

  const PATIENCE = 30; // ms of work before messages are looked at
  const NEWS = 100; // ms between two words on how far it is: showing them takes time, too
  const POLL = 15; // ms between looks at how far the ear is

  /** Answer the messages of a page; `scope` is the worker's global object. */
  live.serve = function (scope) {
    let model = null;
    let queue = Promise.resolve();
    const jobs = new Map();
    const { port1, port2 } = new MessageChannel();
    const breathe = () =>
      new Promise(resolve => {
        port1.onmessage = resolve;
        port2.postMessage(0);
      });

    const tasks = {
      async begin({ header, kernel }) {
        const { instance } = await WebAssembly.instantiate(live.fromBase64(kernel));
        model = new live.Model(header, instance.exports);
        const { decoder, codec } = model;
        return {
          layers: decoder.depth,
          hidden: decoder.hidden,
          codebooks: decoder.codebooks,
          chroma: decoder.chroma,
          sampleRate: model.sampleRate,
          frameRate: model.frameRate,
          longest: model.longest,
          lag: codec.lag + decoder.codebooks,
          file: header.file,
          kind: header.kind,
        };
      },
      piece({ piece, at }) {
        model.receive(piece, at);
      },
      check({ request }) {
        model.check(request);
      },
      write,
    };

    async function write({ id, request, ahead }) {
      const job = jobs.get(id);
      const tell = (type, more, moved) => scope.postMessage({ id, type, ...more }, moved || []);
      const asked = { ...request, steering: (request.steering || []).map(each => ({ ...each })) };
      if (job.multipliers) {
        // λ is moved while the music plays: the schedules are written as it goes
        asked.steering.forEach((each, i) => Object.assign(each, { multiplier: 1, schedule: [job.multipliers[i]] }));
      }
      const { frames } = model.check(asked);
      const stream = ahead ? new live.SoundStream(model.codec, frames) : null;
      const entropies = [];
      const readings = [];
      const began = performance.now();
      let last = began;
      let told = began;
      let codes;
      for (const step of model.write(asked)) {
        codes = step.codes;
        entropies.push(step.entropy);
        if (asked.observe) readings.push(step.readings.slice());
        if (step.position === 1) tell('begun', { milliseconds: performance.now() - began });
        while (stream && stream.sent < frames && step.frame >= stream.needed) {
          const from = stream.sent;
          const samples = stream.next(codes);
          tell('sound', { from, samples }, [samples.buffer]);
        }
        if (performance.now() - last > PATIENCE) {
          if (last - told > NEWS) {
            tell('progress', { position: step.position, positions: step.positions, entropy: step.entropy });
            told = last;
          }
          await breathe();
          last = performance.now();
        }
        while (stream && step.position > job.heard + ahead && !job.aborted)
          await new Promise(resolve => setTimeout(resolve, POLL));
        if (job.aborted) return null;
        if (job.multipliers) {
          const frame = step.position; // the next pass writes it
          asked.steering.forEach((each, i) => {
            each.schedule[frame] = job.multipliers[i];
          });
          if (job.turned) tell('turned', { frame });
          job.turned = false;
        }
      }
      const written = performance.now();
      const audio = model.sound(codes);
      return {
        tokens: codes,
        audio,
        entropies,
        readings,
        sampleRate: model.sampleRate,
        schedules: asked.steering.map(each => each.schedule || null),
        memory: model.memory.kernel.memory.buffer.byteLength,
        times: { write: written - began, sound: performance.now() - written, steps: entropies.length },
      };
    }

    scope.onmessage = ({ data }) => {
      const { id, type } = data;
      if (type === 'abort') {
        if (jobs.has(id)) jobs.get(id).aborted = true;
        return;
      }
      if (type === 'heard') {
        if (jobs.has(id)) jobs.get(id).heard = data.frame;
        return;
      }
      if (type === 'turn') {
        if (jobs.has(id)) Object.assign(jobs.get(id), { multipliers: data.multipliers, turned: true });
        return;
      }
      jobs.set(id, { aborted: false, heard: 0, multipliers: data.multipliers || null });
      queue = queue.then(async () => {
        try {
          if (jobs.get(id).aborted) throw new DOMException('aborted', 'AbortError');
          const result = await tasks[type](data);
          if (result === null) throw new DOMException('aborted', 'AbortError');
          scope.postMessage({ id, type: 'done', result });
        } catch (error) {
          const kind = error instanceof live.BadInput ? 'input' : error.name === 'AbortError' ? 'abort' : 'fault';
          scope.postMessage({ id, type: 'failed', kind, message: String(error.message || error) });
        }
        jobs.delete(id);
      });
    };
  };
});
