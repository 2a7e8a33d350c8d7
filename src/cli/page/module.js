let engine;
const freed = new FinalizationRegistry((state) => engine.call("free", state));

/** A text that a model has read: what {@link step} goes on from. */
class State {
  constructor({ state, begins }) {
    this.number = state;
    this.begins = begins;
    freed.register(this, state);
  }
}

function ready() {
  if (!engine) throw new Error("call load() first");
  return engine;
}

function known({ tokens, unknown }) {
  if (unknown.length > 0) throw new Error(`the model does not know ${unknown.map((c) => `“${c}”`).join(", ")}`);
  return tokens;
}

export async function load() {
  engine ??= await opened(PARTS);
}

export function state(prompt = "") {
  known(ready().encode(prompt));
  return new State(engine.start(prompt));
}

export function next(state, count = 10) {
  const shown = ([token, p]) => ({ text: engine.decode([token]), p });
  return ready().next(state.number, count).map(shown);
}

export function step(state, char) {
  engine.give(known(ready().encode(char)), "read", state.number);
  state.begins = false;
  return next(state);
}

export function generate(options = {}) {
  const { seed = 0, temperature = 1 } = options;
  if (ready().about.kind === "words") return engine.invent({ ...options, seed, temperature });
  const { prompt = "", length = 500, topP = 1 } = options;
  const { number, begins } = state(prompt);
  engine.call("begin", ...halves(seed));
  engine.call("limit", temperature, topP);
  return engine.decode(engine.call("write", number, length, Number(begins)));
}
