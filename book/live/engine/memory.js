// The memory of the kernel, and the model's weights in it.
SteerLive.part(function (live) {
  'use strict';

  const PAGE = 65536; // bytes; WebAssembly's unit

  /** Room for arrays of float32 in the kernel's memory. Addresses are bytes; room is given back from the end only. */
  live.Memory = class {
    constructor(kernel) {
      this.kernel = kernel;
      this.top = PAGE; // what lies below is the kernel's own
    }

    /** The address of room for so many numbers. Throws if the browser gives no more memory. */
    reserve(count) {
      const at = this.top;
      this.top = (at + 4 * count + 15) & ~15;
      const lacking = this.top - this.kernel.memory.buffer.byteLength;
      if (lacking > 0) {
        try {
          this.kernel.memory.grow(Math.ceil(lacking / PAGE) + 16);
        } catch {
          this.top = at;
          throw new live.BadInput(
            'The browser has no memory left for this: close other pages, ask for a shorter clip, or load the small model.',
          );
        }
      }
      return at;
    }

    /** An array of numbers at an address; good until the next `reserve`, which may move the memory. */
    view(at, count) {
      return new Float32Array(this.kernel.memory.buffer, at, count);
    }

    /** The address of a copy of an array. */
    put(array) {
      const at = this.reserve(array.length);
      this.view(at, array.length).set(array);
      return at;
    }

    /** Give back everything reserved since `top` was this. */
    release(top) {
      this.top = top;
    }
  };

  /** The tensors of a model, put into the kernel's memory when they are first asked for. */
  live.Tensors = class {
    /**
     * @param {live.Memory} memory
     * @param {object} table   name -> {type: "F16" or "I8", shape, at, scales}, the places in `bytes`
     * @param {Uint8Array} bytes
     */
    constructor(memory, table, bytes) {
      this.memory = memory;
      this.table = table;
      this.bytes = bytes;
    }

    has(name) {
      return name in this.table;
    }

    shape(name) {
      if (!this.has(name)) throw new Error(`The weights lack ${name}: they belong to another version of this page.`);
      return this.table[name].shape;
    }

    /** The address of one tensor, or of several of one width, one after the other. */
    place(...names) {
      const sizes = names.map(name => this.shape(name).reduce((a, b) => a * b, 1));
      const at = this.memory.reserve(sizes.reduce((a, b) => a + b));
      names.reduce((to, name, i) => {
        this.read(name, this.memory.view(to, sizes[i]));
        return to + 4 * sizes[i];
      }, at);
      return at;
    }

    read(name, out) {
      const { type, at, scales } = this.table[name];
      if (type === 'F16') live.widenHalves(new Uint16Array(this.bytes.buffer, at, out.length), out);
      else {
        const rows = this.shape(name)
          .slice(0, -1)
          .reduce((a, b) => a * b, 1);
        live.widenBytes(
          new Int8Array(this.bytes.buffer, at, out.length),
          new Float32Array(this.bytes.buffer, scales, rows),
          out,
        );
      }
    }

    /** A weight (out, in) and, if it has one, its bias, for `Memory.kernel.multiply`. */
    linear(name) {
      const [outputs, inputs] = this.shape(name + '.weight');
      if (inputs % 4) throw new Error(`${name} has ${inputs} inputs; the page's kernel needs a multiple of 4.`);
      const bias = this.has(name + '.bias') ? this.place(name + '.bias') : 0;
      return { weight: this.place(name + '.weight'), bias, inputs, outputs };
    }

    /** Weight and bias of a layer normalisation. */
    norm(name) {
      return { weight: this.place(name + '.weight'), bias: this.place(name + '.bias') };
    }
  };
});
