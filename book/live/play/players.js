// Two clips at the same place in the music: both run, one is heard.
(function (play) {
  'use strict';

  const FADE = 0.01; // s
  const LOOK = 50; // ms between looks at the place: drawing takes time from the model, which may be writing

  play.Pair = class {
    /** @param {(state: {playing: boolean, heard: number, share: number}) => void} show  called as it plays */
    constructor(show) {
      this.show = show;
      this.clips = [];
      this.sources = [];
      this.heard = 0;
      this.position = 0; // s, while nothing plays
      this.equal = true;
      document.addEventListener('sl-sound', event => event.detail !== this && this.playing && this.stop());
    }

    /** The sound system, begun at a press of a button, before which a browser plays nothing. */
    wake() {
      this.context = this.context || new AudioContext();
      if (this.context.state === 'suspended') this.context.resume();
      return this.context;
    }

    /** Take clips (arrays of samples, or null where one is not made yet); what plays goes on. */
    set(clips, sampleRate) {
      const playing = this.playing;
      this.stop();
      this.clips = clips;
      this.sampleRate = sampleRate;
      if (!clips[this.heard]) this.heard = clips.findIndex(Boolean);
      if (playing) this.start();
      else this.tell();
    }

    get playing() {
      return this.sources.length > 0;
    }

    get seconds() {
      const clip = this.clips.find(Boolean);
      return clip ? clip.length / this.sampleRate : 0;
    }

    /** Seconds into the clip. */
    get now() {
      return this.playing ? (this.context.currentTime - this.began) % this.seconds : this.position;
    }

    gains() {
      const there = this.clips.filter(Boolean);
      if (!this.equal) {
        const peak = Math.max(...there.map(clip => clip.reduce((most, x) => Math.max(most, Math.abs(x)), 0)));
        return this.clips.map(() => Math.min(1, 0.97 / Math.max(peak, 1e-5)));
      }
      const gains = SteerLive.equalGains(there, this.sampleRate);
      return this.clips.map(clip => (clip ? gains[there.indexOf(clip)] : 0));
    }

    start() {
      if (!this.clips.some(Boolean)) return;
      document.dispatchEvent(new CustomEvent('sl-sound', { detail: this })); // one sound at a time on a page
      const context = this.wake();
      const gains = this.gains();
      const position = this.position % this.seconds;
      this.began = context.currentTime - position;
      this.sources = this.clips.map((clip, i) => {
        const volume = context.createGain();
        volume.gain.value = i === this.heard ? gains[i] : 0;
        volume.connect(context.destination);
        if (!clip) return { volume, gain: 0 };
        const buffer = context.createBuffer(1, clip.length, this.sampleRate);
        const source = context.createBufferSource();
        buffer.copyToChannel(clip, 0);
        Object.assign(source, { buffer, loop: true });
        source.connect(volume);
        source.start(0, position);
        return { volume, gain: gains[i], source };
      });
      let told = -LOOK;
      const tick = now => {
        if (!this.playing) return;
        if (now - told >= LOOK) {
          told = now;
          this.tell();
        }
        requestAnimationFrame(tick);
      };
      tick(0);
    }

    stop() {
      this.position = this.now || 0;
      this.sources.forEach(({ source, volume }) => {
        if (source) source.stop();
        volume.disconnect();
      });
      this.sources = [];
      this.tell();
    }

    toggle() {
      if (this.playing) this.stop();
      else this.start();
    }

    hear(which) {
      if (!this.clips[which]) return;
      this.heard = which;
      this.sources.forEach(({ volume, gain }, i) =>
        volume.gain.setTargetAtTime(i === which ? gain : 0, this.context.currentTime, FADE),
      );
      this.tell();
    }

    /** Go to a place, a share of the clip. */
    seek(share) {
      const playing = this.playing;
      if (playing) this.stop();
      this.position = share * this.seconds;
      if (playing) this.start();
      else this.tell();
    }

    setEqual(equal) {
      this.equal = equal;
      if (this.playing) {
        this.stop();
        this.start();
      }
    }

    tell() {
      this.show({ playing: this.playing, heard: this.heard, share: this.seconds ? this.now / this.seconds : 0 });
    }
  };
})(SteerPlay);
