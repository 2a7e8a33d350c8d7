"use strict";
const $ = (id) => document.getElementById(id);

/** A text without what would act instead of being seen: controls and marks that turn the direction of others. */
const legible = (text) =>
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (c) =>
    `\\u{${c.codePointAt(0).toString(16)}}`);
/** The same for a list, where spaces and line ends must be seen. */
const visible = (text) =>
  legible(text).replace(/[\u200b-\u200d\u2060\ufe00-\ufe0f]/g, (c) => `\\u{${c.codePointAt(0).toString(16)}}`).replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "␣");
const spoken = (text) => ({ " ": "space", "\n": "line end", "\t": "tab" })[text] ?? legible(text);
const percent = (p) => (p >= 0.0995 ? `${Math.round(p * 100)} %` : p >= 0.001 ? `${(p * 100).toFixed(1)} %` : "< 0.1 %");
const tokenText = ({ text }) => (typeof text === "number" ? (text > 32 && text < 127 ? String.fromCharCode(text) : text === 10 ? "\n" : text === 32 ? " " : `\\x${text.toString(16).padStart(2, "0")}`) : text ?? "the end");

/** An element with a class and a text. */
function element(name, className, text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = false;
}

function say(id, text, isProblem = false) {
  $(id).textContent = legible(text);
  $(id).classList.toggle("problem", isProblem);
  $(id).classList.toggle("small", isProblem);
}

/** Shows an error as a sentence. */
const sayError = (id, { message }) => say(id, `${message[0].toUpperCase()}${message.slice(1)}${message.endsWith(".") ? "" : "."}`, true);

/** Marks a field whose value is wrong, or right again, and goes to the first that is wrong. */
function valid(id, isRight) {
  const was = $(id).getAttribute("aria-invalid");
  if (isRight) $(id).removeAttribute("aria-invalid");
  else $(id).setAttribute("aria-invalid", "true");
  if (!isRight && !was) $(id).focus();
  return isRight;
}

/** Names characters that were left out. */
const leftOut = (unknown) => {
  const named = unknown.slice(0, 8).map((c) => `“${visible(c)}”`).join(" ");
  return unknown.length === 0 ? "" : `The model does not know ${named}${unknown.length > 8 ? " and others" : ""}, which it leaves out. `;
};

async function copied(text, status) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say(status, "Copied.");
}

/* The engine in its worker. */
let worker;
const waiting = new Map();
const events = {};
let asked = 0;

function ask(what, given, transfer = []) {
  return new Promise((resolve, reject) => {
    waiting.set(++asked, { resolve, reject });
    worker.postMessage({ id: asked, ask: what, what: given }, transfer);
  });
}

function startWorker() {
  const code = new Blob([$("worker-code").textContent], { type: "text/javascript" });
  worker = new Worker(URL.createObjectURL(code));
  worker.onmessage = ({ data }) => {
    if (data.event) return events[data.event]?.(data);
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) reject(new Error(data.error));
    else resolve(data.answer);
  };
  worker.onerror = (event) => problem(`The engine stopped: ${event.message}. Reload the page.`);
}

/* The fragment: a link gives the same text. */
const settings = () => new URLSearchParams(location.hash.slice(1));
const seedOf = (text) => (/^\d{1,20}$/.test(text.trim()) && BigInt(text) < 2n ** 64n ? text.trim() : null);
const anySeed = () => String(crypto.getRandomValues(new Uint32Array(1))[0] % 100000);
const within = (value, least, most, otherwise) => (value !== null && value !== "" && Number(value) >= least && Number(value) <= most ? Number(value) : otherwise);
const linkTo = (fragment) => `${location.href.split("#")[0]}#${fragment}`;
/** The longest fragment that every browser and mail program keeps whole. */
const LONGEST_LINK = 8000;
/** Puts the settings into the address, as a new page if the user asked for a text, so that Back brings back the one before. */
function remember(values, isNew) {
  const fragment = new URLSearchParams(values).toString();
  if (fragment.length > LONGEST_LINK) return null;
  if (isNew && location.hash && location.hash !== `#${fragment}`) history.pushState(null, "", `#${fragment}`);
  else history.replaceState(null, "", `#${fragment}`);
  return fragment;
}
const whole = (text, least, most) => (/^\d{1,7}$/.test(text.trim()) && Number(text) >= least && Number(text) <= most ? Number(text) : null);

function outputs(input, output, places = 2) {
  const show = () => ($(output).textContent = Number($(input).value).toFixed(places));
  $(input).addEventListener("input", show);
  show();
}

/** The most characters that are coloured at once. */
const MOST_READ = 100000;

/* Texts. */
function texts(about) {
  $("texts").hidden = false;
  // The text, whether it is being written, and whether a link would give another one.
  let [text, writing, changed] = ["", false, false];
  const fromFragment = () => {
    const from = settings();
    $("prompt").value = from.get("prompt") ?? about.prompt;
    $("temperature").value = within(from.get("temperature"), 0, 1.5, 0.7);
    $("top-p").value = within(from.get("top-p"), 0.05, 1, 1);
    $("length").value = whole(from.get("length") ?? "", 0, 1e6) ?? 600;
    $("seed").value = seedOf(from.get("seed") ?? "") ?? anySeed();
  };
  fromFragment();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) $("pace").value = "0";
  outputs("temperature", "temperature-value");
  outputs("top-p", "top-p-value");
  const limits = () => ({ temperature: Number($("temperature").value), topP: Number($("top-p").value), pace: Number($("pace").value) });
  const fragment = (isNew) =>
    remember({ seed: $("seed").value, temperature: $("temperature").value, "top-p": $("top-p").value, length: $("length").value, prompt: $("prompt").value }, isNew);

  const append = (piece, className) => {
    const box = $("text");
    const follows = box.scrollTop + box.clientHeight > box.scrollHeight - 40;
    text += piece;
    if (className) box.append(element("span", className, legible(piece)));
    else if (box.lastChild?.nodeType === Node.TEXT_NODE && box.lastChild.length < 2000) box.lastChild.appendData(legible(piece));
    else box.append(legible(piece));
    if (follows) box.scrollTop = box.scrollHeight;
  };
  // What still comes of an earlier text is not shown: a text's pieces follow its beginning.
  let begun = false;
  events.text = ({ piece }) => begun && append(piece);
  let unknownSaid = "";
  events.began = ({ unknown }) => {
    unknownSaid = leftOut(unknown);
    begun = true;
  };

  let chosen = 0;
  const offer = (next) => {
    $("next").replaceChildren(
      ...next.map((one) => {
        const item = element("li");
        const button = element("button");
        const follows = tokenText(one);
        button.type = "button";
        button.append(element("b", "", visible(follows)), element("small", "", percent(one.p)));
        button.setAttribute("aria-label", `${spoken(follows)}, ${percent(one.p)}`);
        button.disabled = one.text === null;
        button.addEventListener("click", async (event) => {
          // The second click of two would take what has moved there meanwhile.
          if (event.detail > 1) return;
          const { piece, next: then } = await ask("push", one.token);
          changed = true;
          chosen += 1;
          append(piece);
          offer(then);
          say("status", `${chosen === 1 ? "One character was" : `${chosen} characters were`} chosen by hand.`);
          $("next").querySelector("button")?.focus();
        });
        item.append(button);
        return item;
      }));
  };
  const busy = (is) => {
    writing = is;
    $("stop").disabled = !is;
    for (const button of $("next").querySelectorAll("button")) button.disabled = is;
  };

  let turn = 0;
  const write = async (isNew = true) => {
    const seed = seedOf($("seed").value);
    if (!valid("seed", seed !== null)) return say("status", "The seed must be a whole number below 2⁶⁴.", true);
    const length = whole($("length").value, 0, 1e6);
    if (!valid("length", length !== null)) return say("status", "The length must be a whole number up to 1,000,000.", true);
    const mine = ++turn;
    fragment(isNew);
    [begun, text, changed, chosen] = [false, "", false, 0];
    $("text").replaceChildren();
    if ($("prompt").value) append($("prompt").value, "given");
    busy(true);
    say("status", "Writing …");
    try {
      const { written, ended, perSecond, next } = await ask("write", { ...limits(), prompt: $("prompt").value, seed, length });
      if (mine !== turn) return;
      const why = { length: "", stop: ", stopped", document: ", a whole document" }[ended];
      const speed = Number($("pace").value) === 0 && written > 500 ? ` ${Math.round(perSecond).toLocaleString("en")} characters per second of computing.` : "";
      const note = changed ? " Settings changed on the way, so the link gives another text." : "";
      say("status", `${unknownSaid}${written.toLocaleString("en")} characters${why}.${speed}${note}`);
      busy(false);
      offer(next);
    } catch (error) {
      if (mine !== turn) return;
      busy(false);
      sayError("status", error);
    }
  };
  $("write").addEventListener("click", () => write());
  $("stop").addEventListener("click", () => ask("stop"));
  $("again").addEventListener("click", () => {
    $("seed").value = anySeed();
    write();
  });
  $("copy").addEventListener("click", () => copied(text, "status"));
  $("link").addEventListener("click", async () => {
    const link = fragment(false);
    if (link === null) return say("status", "The prompt is too long for a link.", true);
    await copied(linkTo(link), "status");
    if (changed) say("status", "Copied. But the text above was written with other settings, or partly chosen by hand: the link gives another one.");
  });
  for (const id of ["prompt", "seed", "length", "temperature", "top-p", "pace"]) {
    $(id).addEventListener("input", () => {
      valid(id, true);
      changed ||= id !== "pace";
      if (writing) ask("limit", limits());
    });
  }
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) write();
  });
  addEventListener("hashchange", () => {
    fromFragment();
    for (const id of ["temperature", "top-p"]) $(id).dispatchEvent(new Event("input"));
    write(false);
  });

  /* Read. */
  let [costs, at] = [[], -1];
  const grade = (bits) => (bits === null ? "" : bits < 1 ? "s0" : bits < 2 ? "s1" : bits < 4 ? "s2" : bits < 6 ? "s3" : bits < 9 ? "s4" : "s5");
  const point = (index, scroll = false) => {
    const spans = $("coloured").children;
    if (index < 0 || index >= spans.length) return;
    spans[at]?.classList.remove("at");
    at = index;
    spans[at].classList.add("at");
    if (scroll) spans[at].scrollIntoView({ block: "nearest" });
    const { bits, expected } = costs[at];
    const text = tokenText(costs[at]);
    const told = expected.map((one) => `${visible(tokenText(one))} ${percent(one.p)}`).join(", ");
    say("expected", bits === null ? `“${visible(text)}” is the first character, which nothing foretells.` : `“${visible(text)}”: ${bits.toFixed(2)} bits. Expected: ${told}.`);
  };
  // The worker counts what it reads; what still comes of an earlier text is not shown.
  let reading = 0;
  events.costs = ({ number, costs: more, all }) => {
    if (number !== reading || $("read-stop").disabled) return;
    const box = document.createDocumentFragment();
    for (const { text, bits } of more) box.append(element("span", grade(bits), legible(tokenText({ text }))));
    $("coloured").append(box);
    $("coloured").hidden = $("legend").hidden = false;
    costs = costs.concat(more);
    say("expected", `Reading: ${Math.round((100 * costs.length) / all)} %`);
  };
  $("read").addEventListener("click", async () => {
    say("expected", "Reading …");
    reading += 1;
    [costs, at] = [[], -1];
    $("coloured").replaceChildren();
    $("coloured").hidden = $("legend").hidden = true;
    $("read-stop").disabled = false;
    try {
      const { unknown, all, isOld } = await ask("surprisals", { given: $("given").value, most: MOST_READ });
      if (isOld) return;
      $("read-stop").disabled = true;
      const counted = costs.filter(({ bits }) => bits !== null);
      const mean = counted.reduce((sum, { bits }) => sum + bits, 0) / Math.max(1, counted.length);
      const note = leftOut(unknown);
      const cut = all > costs.length && costs.length > 0 ? ` The rest of the ${all.toLocaleString("en")} is not read: a page cannot show so many.` : "";
      say("expected", costs.length === 0 ? `${note}There is no text.` : `${note}${costs.length.toLocaleString("en")} characters, ${mean.toFixed(2)} bits per character.${cut}`);
    } catch (error) {
      $("read-stop").disabled = true;
      sayError("expected", error);
    }
  });
  $("read-stop").addEventListener("click", () => {
    ask("stopReading");
    $("read-stop").disabled = true;
    say("expected", `Stopped after ${costs.length.toLocaleString("en")} characters.`);
  });
  for (const kind of ["pointerover", "pointerdown"]) {
    $("coloured").addEventListener(kind, ({ target }) => {
      if (target.parentNode === $("coloured")) point(Array.prototype.indexOf.call($("coloured").children, target));
    });
  }
  $("coloured").addEventListener("keydown", (event) => {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + 40, ArrowUp: at - 40, Home: 0, End: costs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    point(Math.max(0, Math.min(costs.length - 1, to)), true);
  });
  write(false);
}

/* Words. */
function words(about) {
  $("words").hidden = false;
  const learnt = new Set(about.words);
  const from = settings();
  $("first").value = from.get("first") ?? "";
  $("least").value = within(from.get("least"), 1, 64, 1);
  $("most").value = within(from.get("most"), 1, 64, 64);
  $("word-temperature").value = within(from.get("temperature"), 0, 1.5, 1);
  $("word-seed").value = seedOf(from.get("seed") ?? "") ?? anySeed();
  outputs("word-temperature", "word-temperature-value");
  let found = [];
  const fragment = (isNew) =>
    remember({ seed: $("word-seed").value, temperature: $("word-temperature").value, first: $("first").value, least: $("least").value, most: $("most").value }, isNew);
  let turn = 0;
  events.invented = ({ count }) => {
    if (!$("invent-stop").disabled) say("invent-status", `Inventing: ${count} of 24 …`);
  };
  const invent = async (isNew = true) => {
    const seed = seedOf($("word-seed").value);
    const [least, most] = [whole($("least").value, 1, 64), whole($("most").value, 1, 64)];
    const show = (words) => $("invented").replaceChildren(...words.map((word) => element("li", learnt.has(word) ? "learnt" : "", legible(word))));
    if (!valid("word-seed", seed !== null)) return say("invent-status", "The seed must be a whole number below 2⁶⁴.", true);
    const isRange = least !== null && most !== null && least <= most;
    for (const id of ["least", "most"]) valid(id, isRange);
    if (!isRange) return say("invent-status", "The numbers of letters must be 1 to 64, the smaller one first.", true);
    fragment(isNew);
    const mine = ++turn;
    say("invent-status", "Inventing …");
    $("invent-stop").disabled = false;
    try {
      const temperature = Number($("word-temperature").value);
      const { words } = await ask("invent", { seed, startsWith: $("first").value, count: 24, temperature, least, most });
      if (mine !== turn) return;
      const stopped = $("invent-stop").disabled;
      $("invent-stop").disabled = true;
      found = words;
      show(found);
      const known = found.filter((word) => learnt.has(word)).length;
      const few = found.length >= 24 ? "" : stopped ? " Stopped." : " No more were among 20,000 tries.";
      say("invent-status", `${found.length} words.${learnt.size > 0 && known > 0 ? ` ${known} of them, underlined with dots, it has learnt from.` : ""}${few}`);
    } catch (error) {
      if (mine !== turn) return;
      $("invent-stop").disabled = true;
      found = [];
      show(found);
      sayError("invent-status", error);
    }
  };
  $("invent").addEventListener("click", () => invent());
  $("invent-stop").addEventListener("click", () => {
    $("invent-stop").disabled = true;
    ask("stopInventing");
  });
  $("invent-more").addEventListener("click", () => {
    $("word-seed").value = anySeed();
    invent();
  });
  $("word-copy").addEventListener("click", () => copied(found.join("\n"), "invent-status"));
  $("word-link").addEventListener("click", () => copied(linkTo(fragment(false) ?? ""), "invent-status"));
  for (const id of ["first", "least", "most", "word-seed"]) {
    $(id).addEventListener("keydown", ({ key }) => key === "Enter" && invent());
    $(id).addEventListener("input", () => valid(id, true));
  }

  /* Is this a word? */
  const judge = async () => {
    const word = $("judged").value;
    try {
      const { bits, letters } = await ask("score", word);
      if (!Number.isFinite(bits)) return say("verdict", "The model gives it no probability.");
      const each = bits / (letters + 1);
      const below = about.costs.filter((cost) => cost < each).length;
      const share = about.costs.length > 0 ? below / about.costs.length : null;
      const highest = about.costs.at(-1);
      const isLearnt = learnt.has(word.trim());
      const opinion = isLearnt ? "Yes, one that it learnt from. " : share === null ? "" : share <= 0.5 ? "Yes, it could be one. " : share <= 0.95 ? "Yes, if an unusual one. " : each <= 1.3 * highest ? "Hardly. " : "No. ";
      const among = share === null ? "" : ` ${Math.round(share * 100)} % of the words that the model learnt from cost less.`;
      say("verdict", `${opinion}“${word.trim()}” costs ${bits.toFixed(1)} bits, ${each.toFixed(2)} per letter: the fewer, the more the model expects it.${among}`);
    } catch (error) {
      sayError("verdict", error);
    }
  };
  $("judge").addEventListener("click", judge);
  $("judged").addEventListener("keydown", ({ key }) => key === "Enter" && judge());
  if (about.latent === 0) {
    addEventListener("hashchange", () => location.reload());
    for (const id of ["map-part", "between-part", "near-part"]) $(id).hidden = true;
    return invent(false);
  }

  /* Between two words. */
  let way = [];
  const step = () => {
    const word = way[Number($("way").value)] ?? "";
    $("way-word").textContent = legible(word);
    $("way").setAttribute("aria-valuetext", legible(word));
    for (const item of $("way-list").children) item.classList.toggle("here", item.textContent === legible(word));
  };
  const showWay = (words) => {
    way = words;
    const distinct = way.filter((word, index) => word !== way[index - 1]);
    $("way-list").replaceChildren(...distinct.map((word) => element("li", "", legible(word))));
    step();
  };
  const traverse = async () => {
    const ends = [$("from").value, $("to").value];
    if (!ends[0] || !ends[1]) {
      showWay([]);
      return say("way-status", "Two words are needed.");
    }
    try {
      showWay(await ask("between", [...ends, 25]));
      say("way-status", "");
    } catch (error) {
      showWay([]);
      sayError("way-status", error);
    }
  };
  for (const id of ["from", "to"]) $(id).addEventListener("input", traverse);
  $("way").addEventListener("input", step);

  /* Neighbours. */
  let known = [];
  const near = async () => {
    $("neighbours").replaceChildren();
    if (known.length === 0) return say("near-status", "The words are still being placed; their neighbours follow.");
    try {
      const pairs = await ask("neighbours", [$("near").value, 13]);
      const others = pairs.filter(([index]) => known[index] !== $("near").value.trim()).slice(0, 12);
      $("neighbours").replaceChildren(
        ...others.map(([index, distance]) => {
          const item = element("li");
          const button = element("button", "", legible(known[index]));
          button.type = "button";
          button.addEventListener("click", () => {
            $("near").value = known[index];
            near();
          });
          item.append(button, " ", element("small", "", distance.toFixed(2)));
          return item;
        }));
      say("near-status", others.length > 0 ? "The smaller the number, the nearer." : "");
    } catch (error) {
      sayError("near-status", error);
    }
  };
  $("near-go").addEventListener("click", near);
  $("near").addEventListener("keydown", ({ key }) => key === "Enter" && near());

  /* The map. */
  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const narrow = $("words").clientWidth < 500;
  const [width, height, margin] = [1000, narrow ? 1000 : 640, 40];
  $("map").setAttribute("viewBox", `0 0 ${width} ${height}`);
  const cross = $("cross");
  let [toMap, here, asking, wanted, onPage] = [null, null, false, null, []];
  const decode = async () => {
    if (asking) return;
    asking = true;
    while (wanted) {
      const point = wanted;
      wanted = null;
      const { word } = await ask("at", point);
      $("here").textContent = legible(word);
    }
    asking = false;
  };
  const place = (x, y) => {
    if (!toMap) return;
    here = [Math.max(0, Math.min(width, x)), Math.max(0, Math.min(height, y))];
    // Not in the map, which would be painted again.
    [cross.style.left, cross.style.top] = [`${(100 * here[0]) / width}%`, `${(100 * here[1]) / height}%`];
    let [nearest, least] = [0, Infinity];
    for (const [k, [x, y]] of onPage.entries()) {
      const far = (x - here[0]) ** 2 + (y - here[1]) ** 2;
      if (far < least) [nearest, least] = [k, far];
    }
    $("beside").textContent = `beside the dot of “${legible(known[nearest])}”`;
    wanted = toMap(here);
    decode();
  };
  const drawn = ({ known: all, points }) => {
    known = all;
    const [xs, ys] = [points.filter((_, k) => k % 2 === 0), points.filter((_, k) => k % 2 === 1)];
    const bounds = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
    const [[left, right], [bottom, top]] = [bounds(xs), bounds(ys)];
    const scale = Math.min((width - 2 * margin) / (right - left || 1), (height - 2 * margin) / (top - bottom || 1));
    const middle = [(left + right) / 2, (bottom + top) / 2];
    onPage = known.map((_, k) => [width / 2 + (xs[k] - middle[0]) * scale, height / 2 - (ys[k] - middle[1]) * scale]);
    toMap = ([x, y]) => [middle[0] + (x - width / 2) / scale, middle[1] - (y - height / 2) / scale];
    const map = $("map");
    const [letter, line] = narrow ? [15, 28] : [8.5, 16];
    const taken = new Set();
    const [dots, labels] = [[], []];
    for (const [k, word] of known.entries()) {
      const [x, y] = onPage[k];
      dots.push(svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: narrow ? 4 : 2.4 }));
      const length = Array.from(word).length * letter + 12;
      const cells = [];
      for (let a = Math.floor(x / 10); a <= Math.floor((x + length) / 10); a++) {
        for (let b = Math.floor((y - line) / 10); b <= Math.floor((y + 6) / 10); b++) cells.push(`${a} ${b}`);
      }
      if (x + length > width || cells.some((cell) => taken.has(cell))) continue;
      for (const cell of cells) taken.add(cell);
      const label = svg("text", { x: (x + 6).toFixed(1), y: (y + 4).toFixed(1) });
      label.textContent = legible(word);
      labels.push(label);
    }
    map.replaceChildren(...dots, ...labels);
    const of = every > 1 ? ` of the ${about.words.length.toLocaleString("en")}` : "";
    say("map-status", `${known.length.toLocaleString("en")}${of} ${about.words.length > 0 ? "words that the model learnt from" : "invented words"}, along the two directions in which they differ most.`);
    map.parentElement.hidden = false;
    place(...onPage[0]);
    $("from").value ||= known[0];
    $("to").value ||= known[Math.min(known.length - 1, 7)];
    $("near").value ||= known[Math.min(known.length - 1, 3)];
    traverse();
    near();
  };
  const at = (event) => {
    const box = $("map").getBoundingClientRect();
    place(((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height);
  };
  $("map").addEventListener("pointerdown", (event) => {
    $("map").setPointerCapture(event.pointerId);
    at(event);
  });
  $("map").addEventListener("pointermove", (event) => event.buttons > 0 && at(event));
  $("map").addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 50 : 10;
    const by = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[event.key];
    if (!by || !here) return;
    event.preventDefault();
    place(here[0] + by[0], here[1] + by[1]);
  });
  events.placed = ({ part }) => say("map-status", `Placing the words: ${Math.round(part * 100)} %`);
  // Evenly from all, so that a long list is placed in time.
  const every = Math.ceil(about.words.length / 4000);
  const some = about.words.filter((_, k) => k % every === 0);
  addEventListener("hashchange", () => location.reload());
  invent(false)
    .then(() => (some.length > 0 ? { words: some } : ask("invent", { seed: "0", count: 300 })))
    .then(({ words: all }) => ask("map", all))
    .then(drawn)
    .catch((error) => sayError("map-status", error));
}

/** The smallest module with a SIMD instruction. */
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

async function begin() {
  const lacks =
    typeof WebAssembly !== "object" ? "WebAssembly" : !WebAssembly.validate(Uint8Array.from(SIMD)) ? "WebAssembly with SIMD" : typeof DecompressionStream !== "function" ? "DecompressionStream" : null;
  if (lacks) return problem(`This page needs ${lacks}, which this browser does not have or does not allow. Firefox 113, Chrome 91, Safari 16.4 and later have it.`);
  try {
    startWorker();
    const about = await ask("open", ["engine", "about", "weights"].map((part) => $(`part-${part}`).textContent));
    document.title = legible(about.title);
    $("title").textContent = legible(about.title);
    $("about").textContent = legible(about.subtitle);
    (about.kind === "words" ? words : texts)(about);
  } catch (error) {
    problem(`The model does not open: ${error.message}`);
  }
}
begin();
