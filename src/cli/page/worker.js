/** What the page asks for, each with one answer; a text comes in pieces. */
let engine;
/** The text that is written: a state, a decoder, and what it may still be told. */
let text;
let [run, reading, inventing] = [0, 0, 0];

const tick = () =>
  new Promise((go) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      go();
    };
    port2.postMessage(0);
  });

const shown = ([token, p]) => ({ token, text: engine.about.tokens[token] ?? null, p });

function following() {
  return engine.next(text.state, 10).map(shown);
}

/** Reads a prompt in place of the text before. */
function begin(prompt) {
  if (text) engine.call("free", text.state);
  text = { ...engine.start(prompt), decode: engine.decoder() };
}

/** Milliseconds between two pieces of a text. */
const PIECE = 30;

const answers = {
  async open(parts) {
    engine = await opened(parts);
    return engine.about;
  },

  /** Writes until the length, the end of a document or a stop; `pace` is in characters per second, 0 as fast as it goes. */
  async write({ prompt, seed, temperature, topP, length, pace }) {
    const mine = ++run;
    begin(prompt);
    text.limits = [temperature, topP];
    text.pace = pace;
    engine.call("begin", ...halves(seed));
    postMessage({ event: "began", unknown: text.unknown });
    const { documentEnd: end } = engine.about;
    const started = performance.now();
    let [written, due, busy, ended] = [0, started, 0, "length"];
    while (written < length) {
      engine.call("limit", ...text.limits);
      const from = performance.now();
      let ids = [];
      const most = text.pace > 0 ? Math.max(1, Math.round((text.pace * PIECE) / 1000)) : Infinity;
      while (ids.length < Math.min(most, length - written) && performance.now() < from + PIECE) {
        const count = Math.min(32, most - ids.length, length - written - ids.length);
        ids = ids.concat(engine.call("write", text.state, count, Number(text.begins)));
        text.begins = false;
        if (end !== null && ids.at(-1) === end) break;
      }
      busy += performance.now() - from;
      written += ids.length;
      postMessage({ event: "text", piece: text.decode(ids) });
      if (end !== null && ids.at(-1) === end) {
        ended = "document";
        break;
      }
      due += PIECE;
      const wait = text.pace > 0 ? due - performance.now() : 0;
      await (wait > 4 ? new Promise((go) => setTimeout(go, wait)) : tick());
      if (mine !== run) {
        ended = "stop";
        break;
      }
    }
    if (mine === run) run += 1;
    return { written, ended, perSecond: written / (busy / 1000), next: following() };
  },

  limit({ temperature, topP, pace }) {
    if (text) [text.limits, text.pace] = [[temperature, topP], pace];
  },

  stop() {
    run += 1;
  },

  /** The text goes on with this token. */
  push(token) {
    run += 1;
    engine.give([token], "read", text.state);
    return { piece: text.decode([token]), next: following() };
  },

  /** What each character of a text costs, in pieces, so that other questions are answered between them. */
  async surprisals({ given, most }) {
    const mine = ++reading;
    const { tokens, unknown } = engine.encode(given);
    const read = tokens.slice(0, most);
    for (const piece of engine.surprisals(read, 3)) {
      const text = (token) => engine.about.tokens[token] ?? null;
      const costs = piece.map(({ token, bits, expected }) => ({ text: text(token), bits, expected: expected.map(shown) }));
      postMessage({ event: "costs", number: mine, costs, all: read.length });
      await tick();
      if (mine !== reading) return { isOld: true };
    }
    return { unknown, all: tokens.length };
  },

  stopReading() {
    reading += 1;
  },

  /** Words as they are found. */
  async invent(options) {
    const mine = ++inventing;
    const words = [];
    for (const found of engine.inventing(options)) {
      words.push(...found);
      postMessage({ event: "invented", count: words.length });
      await tick();
      if (mine !== inventing) return { words, isOld: true };
    }
    return { words };
  },

  stopInventing() {
    inventing += 1;
  },

  /** Places all words, in pieces, so that other questions are answered between them. */
  async map(words) {
    const known = [];
    for (let from = 0; from < words.length; from += 96) {
      const part = words.slice(from, from + 96);
      const letters = (word) => engine.split(word).map((letter) => engine.ids.get(letter) ?? engine.about.unk);
      const readable = part.map((word) => [word, letters(word)]).filter(([, ids]) => ids.length > 0);
      known.push(...readable.map(([word]) => word));
      engine.give(Engine.listed(readable.map(([, ids]) => ids)), "learn");
      postMessage({ event: "placed", part: known.length / words.length });
      await tick();
    }
    return { known, points: engine.call("map") };
  },

  at([x, y]) {
    const started = performance.now();
    return { word: engine.words(engine.call("at", x, y))[0], ms: performance.now() - started };
  },

  between: ([a, b, steps]) => engine.words(engine.give(Engine.listed([a, b].map((w) => engine.word(w))), "between", steps)),

  neighbours([word, count]) {
    const numbers = engine.give(Engine.listed([engine.word(word)]), "neighbours", count);
    const pairs = [];
    for (let k = 0; k < numbers.length; k += 2) pairs.push([numbers[k], numbers[k + 1]]);
    return pairs;
  },

  score(word) {
    const letters = engine.word(word);
    const [nats] = engine.give(Engine.listed([letters]), "score", 100);
    return { bits: nats / Math.LN2, letters: letters.length };
  },
};

onmessage = async ({ data: { id, ask, what } }) => {
  try {
    postMessage({ id, answer: await answers[ask](what) });
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
};
