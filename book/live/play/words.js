// The prompt: chips for words that the model knows, and a note that names words that it does not.
(function (play) {
  'use strict';

  const escaped = word => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const whole = word => new RegExp(`(?<![\\w-])${escaped(word)}(?![\\w-])`, 'i');
  const NOUN = /\b(song|tune|piece|track|theme|solo|melody|groove|jam|number|instrumental|performance|loop|dance)\b/i;

  /** A prompt with a word put in, taken out, or put in the place of another of its group. */
  play.toggleWord = function (prompt, word, group, isInstrument) {
    const there = group.find(other => whole(other).test(prompt));
    let made;
    if (there === word) made = prompt.replace(new RegExp(`( (with|on) an? )?${whole(word).source}`, 'i'), '');
    else if (there) made = prompt.replace(whole(there), word);
    else if (isInstrument) made = prompt.trim() ? `${prompt} with a ${word}` : `a ${word} solo`;
    else if (NOUN.test(prompt)) made = prompt.replace(NOUN, noun => `${word} ${noun}`);
    else made = prompt.trim() ? `${prompt} ${word}` : `a ${word} song`;
    made = made.replace(/\s+/g, ' ').trim();
    return made.replace(/\b(an?)(?= (\w))/gi, (article, _, first) => {
      const right = /[aeiou]/i.test(first) ? 'an' : 'a';
      return article[0] === 'A' ? right[0].toUpperCase() + right.slice(1) : right;
    });
  };

  /** Show chips below the prompt and name unknown words; gives a function that shows them anew. */
  play.offerWords = function ({ words, vocabulary }) {
    const prompt = play.one('lp-prompt');
    const known = new Set(vocabulary);
    const chips = [];
    for (const [name, group] of Object.entries(words)) {
      const row = play.make('div', { role: 'group', 'aria-label': name });
      for (const word of group) {
        const chip = play.make('button', { type: 'button', class: 'lp-chip' }, word);
        chip.addEventListener('click', () => {
          prompt.value = play.toggleWord(prompt.value, word, group, name === 'instrument');
          show();
        });
        chips.push({ chip, word });
        row.append(chip);
      }
      play.one('lp-words').append(play.make('div', { class: 'lp-words' }, play.make('span', {}, name), row));
    }

    function show() {
      chips.forEach(({ chip, word }) => chip.setAttribute('aria-pressed', whole(word).test(prompt.value)));
      const found = SteerLive.unknownWords(prompt.value, known);
      const are = found.length > 1;
      play.say(
        play.one('lp-unknown'),
        found.length
          ? `The model has never seen ${found.map(word => `“${word}”`).join(', ')} and cannot follow ${are ? 'them' : 'it'}.`
          : '',
      );
    }
    prompt.addEventListener('input', show);
    show();
    return show;
  };
})(SteerPlay);
