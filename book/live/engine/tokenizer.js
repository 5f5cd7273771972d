// From a prompt to token ids: the parts of Hugging Face's `tokenizer.json` that the pocket model uses (lower case,
// other characters to blanks, words marked by "▁", and the most probable pieces of each: a unigram model).
SteerLive.part(function (live) {
  'use strict';

  const UNKNOWN_PENALTY = 10; // below the least probable piece, as in the tokenizers library
  const WORD = /[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu; // as steerlib.model has it

  live.Tokenizer = class {
    /**
     * @param {object} file     what tokenizer.json holds
     * @param {number} length   tokens that prompts are padded to
     */
    constructor(file, length) {
      const model = file.model;
      if (model.type !== 'Unigram')
        throw new Error(`The page reads tokenizers of the kind Unigram, not ${model.type}.`);
      this.pieces = new Map(model.vocab.map(([piece, score], id) => [piece, { id, score }]));
      this.longest = Math.max(...model.vocab.map(([piece]) => piece.length));
      this.unknown = { id: model.unk_id, score: Math.min(...model.vocab.map(([, score]) => score)) - UNKNOWN_PENALTY };
      this.steps = file.normalizer ? file.normalizer.normalizers || [file.normalizer] : [];
      this.end = file.post_processor.special_tokens['</s>'].ids[0];
      this.padding = file.padding ? file.padding.pad_id : 0;
      this.length = length;
    }

    /** Token ids of a prompt and its end, without padding. */
    tokens(prompt) {
      const text = this.steps.reduce(normalise, prompt);
      const words = text ? text.split(' ').map(word => '▁' + word) : [];
      return [...words.flatMap(word => this.split(word)), this.end];
    }

    /** The most probable pieces of one word (Viterbi), as ids. */
    split(word) {
      const best = [{ score: 0, from: -1, id: -1 }];
      for (let end = 1; end <= word.length; end++) {
        for (let from = Math.max(0, end - this.longest); from < end; from++) {
          const piece = this.pieces.get(word.slice(from, end)) || (end - from === 1 ? this.unknown : null);
          if (!piece || !best[from]) continue;
          const score = best[from].score + piece.score;
          if (!best[end] || score > best[end].score) best[end] = { score, from, id: piece.id };
        }
      }
      const ids = [];
      for (let end = word.length; end > 0; end = best[end].from) ids.unshift(best[end].id);
      return ids;
    }

    /** Ids padded to the length of prompts, and how many of them are not padding. Throws if there are too many. */
    encode(prompt) {
      if (!prompt.trim()) throw new live.BadInput('The prompt is empty: describe some music, such as “a folk song”.');
      const ids = this.tokens(prompt);
      if (ids.length > this.length) {
        throw new live.BadInput(
          `The prompt has ${ids.length} tokens, and the model reads ${this.length} at most: shorten it.`,
        );
      }
      return {
        ids: Int32Array.from({ length: this.length }, (_, i) => (i < ids.length ? ids[i] : this.padding)),
        count: ids.length,
      };
    }
  };

  /** Words of a prompt that are not among the known ones (a Set): the model was trained without them. */
  live.unknownWords = function (prompt, known) {
    const words = [...new Set(prompt.toLowerCase().match(WORD) || [])];
    return words.filter(word => !known.has(word) && !word.split(/['’-]/).every(part => known.has(part)));
  };

  function normalise(text, step) {
    if (step.type === 'Lowercase') return text.toLowerCase();
    if (step.type === 'Replace')
      return text.replace(new RegExp(step.pattern.Regex || step.pattern.String, 'gu'), step.content);
    if (step.type === 'Strip') return text.trim();
    throw new Error(`The page has no step “${step.type}” of tokenizers.`);
  }

  /** What a reader got wrong: its message is a sentence for the page. */
  live.BadInput = class extends Error {};
});
