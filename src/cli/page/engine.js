/** The bytes of zlib data in base64. */
async function inflated(base64) {
  const packed = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The engine with a model: `parts` are engine, description and weights, each zlib data in base64. */
async function opened(parts) {
  const [engine, about, weights] = await Promise.all(parts.map(inflated));
  const { instance } = await WebAssembly.instantiate(engine, {});
  return new Engine(instance.exports, JSON.parse(new TextDecoder().decode(about)), weights);
}

/** The two halves of a seed. */
function halves(seed) {
  const whole = BigInt.asUintN(64, BigInt(seed));
  return [Number(whole & 0xffffffffn), Number(whole >> 32n)];
}

/** A model: texts and words on one side, tokens and numbers of the WebAssembly module on the other. */
class Engine {
  constructor(exports, about, weights) {
    this.exports = exports;
    this.about = about;
    this.ids = new Map(about.tokens.map((token, id) => [token, id]));
    const address = exports.input(Math.ceil(weights.length / 4));
    new Uint8Array(exports.memory.buffer, address, weights.length).set(weights);
    this.call("load", weights.length, about.tokens.length, about.unk ?? -1);
  }

  /** The numbers that a function of the module puts out. */
  call(name, ...numbers) {
    const count = this.exports[name](...numbers);
    if (count < 0) throw new Error(`the engine cannot ${name} this`);
    const { buffer } = this.exports.memory;
    return Array.from(new Float64Array(buffer, this.exports.output(), count));
  }

  /** The same with tokens as input. */
  give(tokens, name, ...numbers) {
    const address = this.exports.input(tokens.length);
    new Uint32Array(this.exports.memory.buffer, address, tokens.length).set(tokens);
    return this.call(name, ...numbers);
  }

  /** A text in the normal form that the model learnt. */
  normal(text) {
    const { normalize, lowercase, newlines } = this.about.text;
    const forms = {
      none: (t) => t,
      nfc: (t) => t.normalize("NFC"),
      nfkc: (t) => t.normalize("NFKC"),
      ascii: (t) => t.normalize("NFKD").replace(/\p{M}/gu, ""),
    };
    const form = forms[normalize];
    const unix = newlines === "unix" ? text.replace(/\r\n?/g, "\n") : text;
    if (!lowercase) return form(unix);
    // Character by character, so that Σ is σ everywhere.
    return form(Array.from(form(unix), (c) => c.toLowerCase()).join(""));
  }

  /** A text in the units of the vocabulary. */
  split(text) {
    if (this.about.unit === "byte") return Array.from(new TextEncoder().encode(text));
    if (this.about.unit === "char") return Array.from(text);
    return Array.from(new Intl.Segmenter().segment(text), ({ segment }) => segment);
  }

  /** The tokens of a text, and its characters that the model does not know, which are left out. */
  encode(text) {
    const [tokens, unknown] = [[], new Set()];
    for (const unit of this.split(this.normal(text))) {
      const id = this.ids.get(unit);
      if (id === undefined) unknown.add(typeof unit === "number" ? `byte ${unit}` : unit);
      else tokens.push(id);
    }
    return { tokens, unknown: [...unknown] };
  }

  /** A function from tokens to the text that they add. */
  decoder() {
    const { tokens, unit } = this.about;
    const known = (ids) => ids.map((id) => tokens[id]).filter((token) => token !== undefined);
    if (unit !== "byte") return (ids) => known(ids).join("");
    const utf8 = new TextDecoder();
    return (ids, last = false) => utf8.decode(Uint8Array.from(known(ids)), { stream: !last });
  }

  decode(ids) {
    return this.decoder()(ids, true);
  }

  /** A state after a prompt, its unknown characters, and whether a document begins. */
  start(prompt) {
    const { tokens, unknown } = this.encode(prompt);
    const { documentEnd: end, beginning } = this.about;
    const [state] = this.call("fresh");
    const before = end !== null ? [end] : tokens.length === 0 ? [beginning] : [];
    this.give([...before, ...tokens], "read", state);
    return { state, unknown, begins: end !== null && tokens.length === 0 };
  }

  /** The `count` most probable next tokens, as [token, probability]. */
  next(state, count) {
    const pairs = this.call("following", state).map((p, token) => [token, Math.exp(p)]);
    pairs.sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    return pairs.slice(0, count).filter(([, p]) => p > 0);
  }

  /** The cost of each token of a text in bits, with what was expected, in pieces: [{token, bits, expected}]. */
  *surprisals(tokens, most) {
    const { documentEnd: end } = this.about;
    const read = end !== null ? [end, ...tokens] : tokens;
    if (end === null && tokens.length > 0) yield [{ token: tokens[0], bits: null, expected: [] }];
    const [state] = this.call("fresh");
    for (let from = 0; from + 1 < read.length; from += 1000) {
      // The last token of a piece is read with the next.
      const piece = read.slice(from, from + 1001);
      const numbers = this.give(piece, "surprisals", state, most);
      const width = numbers.length / (piece.length - 1);
      yield piece.slice(1).map((token, index) => {
        const [nats, ...best] = numbers.slice(index * width, (index + 1) * width);
        const expected = [];
        for (let k = 0; k < best.length; k += 2) expected.push([best[k], best[k + 1]]);
        return { token, bits: nats / Math.LN2, expected };
      });
    }
    this.call("free", state);
  }

  /** Words as the module takes them: each after its length. */
  static listed(words) {
    return words.flatMap((word) => [word.length, ...word]);
  }

  /** Words as the module gives them. */
  words(numbers) {
    const words = [];
    for (let k = 0; k < numbers.length; k += numbers[k] + 1) {
      words.push(this.decode(numbers.slice(k + 1, k + 1 + numbers[k])));
    }
    return words;
  }

  /** The tokens of one word; an error names the letters that the model does not know. */
  word(text) {
    const { tokens, unknown } = this.encode(text.trim());
    if (unknown.length > 0) throw new Error(`the model does not know ${unknown.map((c) => `“${c}”`).join(", ")}`);
    if (tokens.length === 0) throw new Error("there is no word to look at");
    return tokens;
  }

  /** Up to `count` words of a seed that start with these letters and have a length in the range; `tries` samples at most. */
  invent(options) {
    return [...this.inventing(options)].flat();
  }

  /** The same as they are found, with an empty list where none was. */
  *inventing({ seed, startsWith = "", count = 20, temperature = 1, least = 1, most = 64, tries = 20000 }) {
    const { tokens: prefix, unknown } = this.encode(startsWith);
    if (unknown.length > 0) throw new Error(`the model does not know ${unknown.map((c) => `“${c}”`).join(", ")}`);
    if (prefix.length > most) throw new Error(`no word of ${most} letters starts with the ${prefix.length} of “${startsWith}”`);
    for (let first = 0; first < tries && count > 0; first += 48) {
      const words = this.give(prefix, "invent", ...halves(seed), first, 48, temperature);
      const found = [];
      for (let k = 0; k < words.length; k += words[k] + 1) {
        if (words[k] >= Math.max(1, least) && words[k] <= most && found.length < count) {
          found.push(this.decode(words.slice(k + 1, k + 1 + words[k])));
        }
      }
      count -= found.length;
      yield found;
    }
  }
}
