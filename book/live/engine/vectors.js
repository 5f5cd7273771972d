// Steering vectors from files: what `SteeringVector.save` writes, read without the library.
SteerLive.part(function (live) {
  'use strict';

  const NAME = 'steerlib.SteeringVector';
  const VERSION = 1;
  const LARGEST_HEADER = 1e6;

  /** A vector {directions, layers, hidden, metadata} from the bytes of a safetensors file. */
  live.readVector = function (buffer) {
    const damaged = why =>
      new live.BadInput(
        `This is no steering vector that can be read (${why}): drop a .safetensors file that SteeringVector.save has written.`,
      );
    const view = new DataView(buffer);
    if (buffer.byteLength < 8) throw damaged('it is too short');
    const length = Number(view.getBigUint64(0, true));
    if (length > LARGEST_HEADER || 8 + length > buffer.byteLength)
      throw damaged('it is not a safetensors file, or is damaged');
    let header, content;
    try {
      header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
      content = JSON.parse(header.__metadata__[NAME]);
    } catch {
      throw damaged('it is a file of another kind, or is damaged');
    }
    if (content.format_version > VERSION) {
      throw new live.BadInput('This vector was written by a newer steerlib than this page knows: build the book anew.');
    }
    const tensor = header.directions;
    if (!tensor || tensor.dtype !== 'F32' || tensor.shape.length !== 2) throw damaged('it holds no directions');
    const [layers, hidden] = tensor.shape;
    const [from, to] = tensor.data_offsets;
    if (to - from !== 4 * layers * hidden || 8 + length + to > buffer.byteLength) throw damaged('it is cut short');
    const directions = new Float32Array(buffer.slice(8 + length + from, 8 + length + to));
    if (!directions.every(Number.isFinite)) throw damaged('it holds numbers that are not finite');
    return { directions, layers, hidden, metadata: content.metadata || {} };
  };
});
