// The memory of the kernel, and the model's weights in it.
SteerLive.part(function (live) {
  'use strict';

  const PAGE = 65536; // bytes; WebAssembly's unit
  const WIDEST = 4096; // inputs for which the kernel multiplies by halves

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

  /**
   * The tensors of a model: first each gets its place in the kernel's memory, then their bytes come, piece by piece, and go
   * there. So the stored numbers and the wide ones are never in memory both.
   */
  live.Tensors = class {
    /**
     * @param {live.Memory} memory
     * @param {object} table   name -> {type: "F16" or "I8", shape, at, scales}, the places in the stored bytes
     */
    constructor(memory, table) {
      this.memory = memory;
      this.table = table;
      this.placed = [];
    }

    has(name) {
      return name in this.table;
    }

    shape(name) {
      if (!this.has(name)) throw new Error(`The weights lack ${name}: they belong to another version of this page.`);
      return this.table[name].shape;
    }

    /** The address that one tensor will have, or several of one width, one after the other, as float32. */
    place(...names) {
      return this.reserve(names, false);
    }

    /** As `place`; halves may stay halves, in the order that `multiplyHalves` reads them in. */
    reserve(names, areHalves) {
      const sizes = names.map(name => this.shape(name).reduce((a, b) => a * b, 1));
      const bytes = areHalves ? 2 : 4;
      const start = this.memory.reserve((sizes.reduce((a, b) => a + b) * bytes) / 4);
      names.reduce((to, name, i) => {
        this.placed.push({ to, size: sizes[i], areHalves, ...this.table[name] });
        return to + bytes * sizes[i];
      }, start);
      return start;
    }

    /**
     * Weights (out, in) without a bias, or several one after the other: `times(x, y, rows, add)` does y = x wᵀ, or y += that.
     * Those in half precision stay so, where their shape allows it.
     */
    matrix(...names) {
      const shapes = names.map(name => this.shape(name));
      const inputs = shapes[0][1];
      const outputs = shapes.reduce((sum, [out]) => sum + out, 0);
      const areHalves = names.every(name => this.table[name].type === 'F16');
      const { kernel } = this.memory;
      if (areHalves && inputs % 8 === 0 && inputs <= WIDEST && shapes.every(([out]) => out % 4 === 0)) {
        const at = this.reserve(names, true);
        return { times: (x, y, rows, add) => kernel.multiplyHalves(x, at, y, inputs, outputs, rows, add ? 1 : 0) };
      }
      const at = this.place(...names);
      return { times: (x, y, rows, add) => kernel.multiply(x, at, y, inputs, outputs, rows, 0, add ? 1 : 0) };
    }

    /** Take the stored bytes that begin at `from`. Pieces come in order, and none cuts a number in two. */
    receive(bytes, from) {
      const piece = { from, end: from + bytes.length, buffer: bytes.buffer };
      for (const { to, size, type, at, scales, shape, areHalves } of this.placed) {
        if (areHalves) {
          const halves = overlap(piece, at, size, Uint16Array);
          if (halves) interleave(halves, shape[1], new Uint16Array(this.memory.kernel.memory.buffer, to, size));
          continue;
        }
        const out = this.memory.view(to, size);
        if (type === 'F16') {
          const halves = overlap(piece, at, size, Uint16Array);
          if (halves) live.widenHalves(halves.values, out.subarray(halves.first));
          continue;
        }
        const steps = overlap(piece, at, size, Int8Array);
        if (steps) out.set(steps.values, steps.first);
        const wide = shape[shape.length - 1];
        const sizes = overlap(piece, scales, size / wide, Float32Array); // they lie behind their rows
        if (sizes) live.scaleRows(out.subarray(sizes.first * wide), sizes.values, wide);
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

  /** Values of a matrix with so many inputs, the `first` of them and on, into `out` (outputs / 4, inputs / 8, 4, 8). */
  function interleave({ values, first }, inputs, out) {
    values.forEach((value, i) => {
      const row = Math.floor((first + i) / inputs);
      const column = (first + i) % inputs;
      out[((row >> 2) * inputs + (column & ~7)) * 4 + (row & 3) * 8 + (column & 7)] = value;
    });
  }

  /** What a piece holds of `size` numbers that are stored at `at`: {values, first: the index of the first}; null for none. */
  function overlap({ from, end, buffer }, at, size, Numbers) {
    const wide = Numbers.BYTES_PER_ELEMENT;
    const start = Math.max(from, at);
    const count = (Math.min(end, at + wide * size) - start) / wide;
    return count > 0 ? { values: new Numbers(buffer, start - from, count), first: (start - at) / wide } : null;
  }
});
