// Pictures of a clip: its spectrogram, and how undecided the model was at each frame.
(function (play) {
  'use strict';

  // Places along matplotlib's "magma", which the book's other spectrograms have.
  const MAGMA = [
    [0, 0, 4],
    [28, 16, 68],
    [79, 18, 123],
    [129, 37, 129],
    [181, 54, 122],
    [229, 80, 100],
    [251, 135, 97],
    [254, 194, 135],
    [252, 253, 191],
  ];

  function colour(share) {
    const at = Math.max(0, Math.min(1, share)) * (MAGMA.length - 1);
    const low = Math.min(Math.floor(at), MAGMA.length - 2);
    return MAGMA[low].map((value, i) => value + (at - low) * (MAGMA[low + 1][i] - value));
  }

  /** A mel spectrogram on a canvas: time to the right, frequency upwards. */
  play.drawSpectrogram = function (canvas, samples, sampleRate) {
    const { values, frames, bands, depth } = SteerLive.melSpectrogram(samples, sampleRate, {
      hop: Math.ceil(samples.length / 320),
    });
    canvas.width = frames;
    canvas.height = bands;
    const pen = canvas.getContext('2d');
    const picture = pen.createImageData(frames, bands);
    for (let frame = 0; frame < frames; frame++) {
      for (let band = 0; band < bands; band++) {
        const at = 4 * ((bands - 1 - band) * frames + frame);
        picture.data.set([...colour(1 + values[frame * bands + band] / depth), 255], at);
      }
    }
    pen.putImageData(picture, 0, 0);
  };

  /**
   * How much further along a direction the steered clip is than the other one: time to the right, layers upwards. Returns
   * the size of the largest difference, which has the full colour.
   */
  play.drawReadings = function (canvas, steered, plain) {
    const layers = steered[0].length;
    const steps = Math.min(steered.length, plain.length);
    const difference = (step, layer) => steered[step][layer] - plain[step][layer];
    let most = 1e-6;
    for (let step = 0; step < steps; step++)
      for (let layer = 0; layer < layers; layer++) most = Math.max(most, Math.abs(difference(step, layer)));
    canvas.width = steps;
    canvas.height = layers;
    const pen = canvas.getContext('2d');
    const picture = pen.createImageData(steps, layers);
    for (let step = 0; step < steps; step++) {
      for (let layer = 0; layer < layers; layer++) {
        const share = difference(step, layer) / most;
        const pole = share > 0 ? [213, 94, 0] : [0, 114, 178];
        picture.data.set([...pole, 255 * Math.abs(share)], 4 * ((layers - 1 - layer) * steps + step));
      }
    }
    pen.putImageData(picture, 0, 0);
    return most;
  };

  /** Entropy of the first codebook's next token, in bits, as a line from 0 to `most`. */
  play.drawEntropy = function (canvas, entropies, most) {
    const wide = 640;
    const high = 64;
    const pen = canvas.getContext('2d');
    canvas.width = wide;
    canvas.height = high;
    pen.strokeStyle = '#0072B2';
    pen.lineWidth = 2;
    pen.beginPath();
    entropies.forEach((bits, i) =>
      pen.lineTo((wide * i) / (entropies.length - 1), high - 2 - ((high - 4) * bits) / most),
    );
    pen.stroke();
  };
})(SteerPlay);
