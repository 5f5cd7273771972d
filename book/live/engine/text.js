// The text encoder (T5, Raffel et al. 2020) and the projection of its states to the width of the decoder.
SteerLive.part(function (live) {
  'use strict';

  live.TextEncoder = class {
    constructor(memory, tensors, config) {
      const c = config.text_encoder;
      if (c.feed_forward_proj !== 'gated-gelu')
        throw new Error(`The page has no text encoder with ${c.feed_forward_proj}.`);
      this.memory = memory;
      this.config = c;
      const block = n => `text_encoder.encoder.block.${n}.layer.`;
      this.blocks = Array.from({ length: c.num_layers }, (_, n) => ({
        norm: tensors.place(block(n) + '0.layer_norm.weight'),
        qkv: tensors.place(...['q', 'k', 'v'].map(name => `${block(n)}0.SelfAttention.${name}.weight`)),
        out: tensors.place(block(n) + '0.SelfAttention.o.weight'),
        innerNorm: tensors.place(block(n) + '1.layer_norm.weight'),
        gate: tensors.place(block(n) + '1.DenseReluDense.wi_0.weight'),
        up: tensors.place(block(n) + '1.DenseReluDense.wi_1.weight'),
        down: tensors.place(block(n) + '1.DenseReluDense.wo.weight'),
      }));
      this.embedding = tensors.place('text_encoder.shared.weight');
      this.bias = tensors.place('text_encoder.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight');
      this.norm = tensors.place('text_encoder.encoder.final_layer_norm.weight');
      this.project = tensors.has('enc_to_dec_proj.weight') ? tensors.linear('enc_to_dec_proj') : null;
    }

    /** States that the decoder reads of a prompt, (length, hidden); those of padding are 0. */
    run({ ids, count }) {
      const { memory, config: c } = this;
      const { kernel } = memory;
      const rows = ids.length;
      const width = c.d_model;
      const inner = c.num_heads * c.d_kv;
      const top = memory.top;
      const states = memory.reserve(rows * width);
      const normed = memory.reserve(rows * width);
      const qkv = memory.reserve(3 * rows * inner);
      const attended = memory.reserve(rows * inner);
      const gate = memory.reserve(rows * c.d_ff);
      const up = memory.reserve(rows * c.d_ff);
      const text = memory.view(states, rows * width);
      ids.forEach((id, row) => text.set(memory.view(this.embedding + 4 * id * width, width), row * width));
      const biases = this.biases(rows);
      for (const block of this.blocks) {
        this.scale(states, normed, block.norm, rows);
        kernel.multiply(normed, block.qkv, qkv, width, 3 * inner, rows, 0, 0);
        this.attend(memory.view(qkv, 3 * rows * inner), memory.view(attended, rows * inner), biases, rows, count);
        kernel.multiply(attended, block.out, states, inner, width, rows, 0, 1);
        this.scale(states, normed, block.innerNorm, rows);
        kernel.multiply(normed, block.gate, gate, width, c.d_ff, rows, 0, 0);
        kernel.geluTanh(gate, rows * c.d_ff);
        kernel.multiply(normed, block.up, up, width, c.d_ff, rows, 0, 0);
        const gates = memory.view(gate, rows * c.d_ff);
        const ups = memory.view(up, rows * c.d_ff);
        for (let i = 0; i < gates.length; i++) gates[i] *= ups[i];
        kernel.multiply(gate, block.down, states, c.d_ff, width, rows, 0, 1);
      }
      this.scale(states, normed, this.norm, rows);
      let made = normed;
      let hidden = width;
      if (this.project) {
        hidden = this.project.outputs;
        made = memory.reserve(rows * hidden);
        kernel.multiply(normed, this.project.weight, made, width, hidden, rows, this.project.bias, 0);
      }
      const result = memory.view(made, rows * hidden).slice();
      result.fill(0, count * hidden);
      memory.release(top);
      return result;
    }

    /** T5's normalisation: no mean, no bias. */
    scale(from, to, weight, rows) {
      const width = this.config.d_model;
      const w = this.memory.view(weight, width);
      for (let row = 0; row < rows; row++) {
        const x = this.memory.view(from + 4 * row * width, width);
        const y = this.memory.view(to + 4 * row * width, width);
        let squares = 0;
        for (let i = 0; i < width; i++) squares += x[i] * x[i];
        const factor = 1 / Math.sqrt(squares / width + this.config.layer_norm_epsilon);
        for (let i = 0; i < width; i++) y[i] = w[i] * Math.fround(x[i] * factor);
      }
    }

    /** Attention of all positions to those of the prompt; T5 does not divide by the root of the head's size. */
    attend(qkv, out, biases, rows, count) {
      const { num_heads: heads, d_kv: size } = this.config;
      const inner = heads * size;
      const scores = new Float64Array(count);
      for (let head = 0; head < heads; head++) {
        for (let row = 0; row < rows; row++) {
          const query = row * 3 * inner + head * size;
          let largest = -Infinity;
          let total = 0;
          for (let other = 0; other < count; other++) {
            const key = other * 3 * inner + inner + head * size;
            let score = biases[(head * rows + row) * rows + other];
            for (let i = 0; i < size; i++) score += qkv[query + i] * qkv[key + i];
            scores[other] = score;
            largest = Math.max(largest, score);
          }
          for (let other = 0; other < count; other++) total += scores[other] = Math.exp(scores[other] - largest);
          for (let i = 0; i < size; i++) {
            let sum = 0;
            for (let other = 0; other < count; other++)
              sum += scores[other] * qkv[other * 3 * inner + 2 * inner + head * size + i];
            out[row * inner + head * size + i] = sum / total;
          }
        }
      }
    }

    /** What is added to the scores for the distance between two positions, (heads, rows, rows). */
    biases(rows) {
      const {
        num_heads: heads,
        relative_attention_num_buckets: buckets,
        relative_attention_max_distance: furthest,
      } = this.config;
      const table = this.memory.view(this.bias, buckets * heads);
      const made = new Float32Array(heads * rows * rows);
      const half = buckets / 2;
      const exact = half / 2;
      for (let row = 0; row < rows; row++) {
        for (let other = 0; other < rows; other++) {
          const distance = Math.abs(other - row);
          const far =
            exact + Math.floor(Math.fround(Math.log(distance / exact) / Math.log(furthest / exact)) * (half - exact));
          const bucket = (other > row ? half : 0) + (distance < exact ? distance : Math.min(far, half - 1));
          for (let head = 0; head < heads; head++)
            made[(head * rows + row) * rows + other] = table[bucket * heads + head];
        }
      }
      return made;
    }
  };
});
