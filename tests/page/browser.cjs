// Uses every control of three pages once: node browser.cjs chrome|firefox BROWSER WANT.json, the pages beside WANT.json.
// A request, a message in the console, an error or a violation of the policy fails.
const { readFileSync } = require("node:fs");
const { dirname, join } = require("node:path");
const puppeteer = require("puppeteer-core");

const [, , kind, executablePath, file] = process.argv;
const want = JSON.parse(readFileSync(file, "utf8"));
const wrong = [];
const check = (is, what) => is || wrong.push(what);

const QUIET = {
  "app.update.enabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
};

async function opened(browser, name, fragment = "") {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 1000 });
  page.setDefaultTimeout(180000);
  page.on("console", (message) => wrong.push(`${name}: console: ${message.text()}`));
  page.on("pageerror", (error) => wrong.push(`${name}: error: ${error.message}`));
  page.on("request", (request) => {
    if (!/^(file|blob|data):/.test(request.url())) wrong.push(`${name}: request: ${request.url()}`);
  });
  page.on("dialog", (dialog) => {
    wrong.push(`${name}: dialog`);
    dialog.dismiss();
  });
  await page.evaluateOnNewDocument(() => {
    globalThis.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
  });
  const started = Date.now();
  await page.goto(`file://${join(dirname(file), name)}${fragment}`);
  return {
    page,
    started,
    text: (id) => page.$eval(`#${id}`, (element) => element.textContent),
    async until(id, pattern) {
      const says = (id, source) => new RegExp(source).test(document.getElementById(id).textContent);
      try {
        await page.waitForFunction(says, { polling: 100 }, id, pattern);
      } catch {
        const said = await page.$eval(`#${id}`, (element) => element.textContent);
        throw new Error(`${name}: ${id} says “${said}”, not ${pattern}`);
      }
    },
    set: (id, value) =>
      page.$eval(`#${id}`, (element, value) => {
        element.value = value;
        for (const type of ["input", "change"]) element.dispatchEvent(new Event(type, { bubbles: true }));
      }, value),
    click: (id) => page.$eval(`#${id}`, (element) => element.click()),
    async close() {
      for (const violation of await page.evaluate(() => globalThis.violations)) wrong.push(`${name}: policy: ${violation}`);
      await page.close();
    },
  };
}

async function texts(browser) {
  const use = await opened(browser, "text.html", "#seed=5&temperature=0.7&length=300&prompt=A%20hen");
  const { page } = use;
  await page.waitForFunction(() => document.getElementById("text").textContent.length > 5, { polling: 100 });
  const first = Date.now() - use.started;
  await use.until("status", "300 characters");
  check((await use.text("text")) === want.text, "the text of a link is not the program's");
  check((await page.$$("#next button")).length === 10, "ten characters are offered");
  const before = (await use.text("text")).length;
  await page.click("#next button");
  await page.waitForFunction((before) => document.getElementById("text").textContent.length > before, { polling: 100 }, before);
  await use.until("status", "One character was chosen by hand");
  await use.click("link");
  await use.until("status", "Copied. But .* the link gives another one");
  await use.set("pace", "60");
  await use.set("length", "5000");
  await use.click("again");
  await page.waitForFunction(() => !document.getElementById("stop").disabled, { polling: 100 });
  await use.set("temperature", "1.2");
  await use.set("top-p", "0.8");
  await new Promise((go) => setTimeout(go, 200));
  await use.click("stop");
  await use.until("status", "stopped.*Settings changed");
  await use.click("copy");
  await use.until("status", "Copied");
  await use.click("link");
  check((await page.evaluate(() => location.hash)).includes("temperature=1.2"), "the link holds the settings");
  const invalid = (id) => page.$eval(`#${id}`, (field) => field.getAttribute("aria-invalid") === "true");
  for (const [id, wrong, right] of [["seed", "x", "7"], ["length", "2.7", "50"], ["length", "", "50"]]) {
    await use.set(id, wrong);
    await use.click("write");
    await use.until("status", "must be a whole number");
    check(await invalid(id), `${id}: ${wrong} is marked`);
    await use.set(id, right);
    check(!(await invalid(id)), `${id}: ${right} is not marked`);
  }
  // Back brings back the text before.
  await use.set("pace", "0");
  await use.set("temperature", "1.5");
  await use.set("top-p", "1");
  await use.click("write");
  await use.until("status", "50 characters");
  const seventh = await use.text("text");
  await use.set("seed", "8");
  await use.click("write");
  await page.waitForFunction((other) => {
    const [text, status] = ["text", "status"].map((id) => document.getElementById(id).textContent);
    return text !== other && /50 characters/.test(status);
  }, { polling: 100 }, seventh);
  await page.evaluate(() => history.back());
  await page.waitForFunction((want) => document.getElementById("text").textContent === want, { polling: 100 }, seventh);
  // Nothing but the prompt, and what could follow.
  await use.set("prompt", "A hen");
  check((await use.text("text")) === seventh, "a text stays until another is written");
  await use.set("length", "0");
  await use.click("write");
  await use.until("status", "^0 characters");
  check((await use.text("text")) === "A hen", "a text of no characters is the prompt");
  await use.set("seed", "18446744073709551615");
  await use.set("pace", "0");
  await use.set("length", "3000");
  await use.set("prompt", "A 東 hen");
  await use.click("write");
  await use.until("status", "does not know “東”.*3,000 characters");
  const speed = (await use.text("status")).match(/([\d,]+) characters per second/)?.[1];
  await use.set("given", "A hen who lived beside the sea.\n".repeat(300));
  const reading = Date.now();
  await use.click("read");
  await use.until("expected", "bits per character");
  const read = Date.now() - reading;
  await page.hover("#coloured span:nth-child(5)");
  await use.until("expected", "Expected: ");
  const hovered = await use.text("expected");
  await page.focus("#coloured");
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction((hovered) => document.getElementById("expected").textContent !== hovered, { polling: 100 }, hovered);
  await use.set("given", "A hen who lived beside the sea.\n".repeat(3000));
  await use.click("read");
  await page.waitForFunction(() => {
    const reads = /Reading: /.test(document.getElementById("expected").textContent);
    if (reads) document.getElementById("read-stop").click();
    return reads;
  }, { polling: 20 });
  await use.until("expected", "Stopped after [\\d,]+ characters");
  await use.set("given", "");
  await use.click("read");
  await use.until("expected", "There is no text");
  await use.close();
  return `first character after ${first} ms, ${speed} characters/s, 9,600 characters coloured in ${read} ms`;
}

/** A browser that has no WebAssembly, or does not allow it. */
async function without(browser) {
  const page = await browser.newPage();
  await page.evaluateOnNewDocument(() => delete globalThis.WebAssembly);
  await page.goto(`file://${join(dirname(file), "text.html")}`);
  await page.waitForFunction(() => !document.getElementById("problem").hidden, { polling: 100 });
  const said = await page.$eval("#problem", (element) => element.textContent);
  check(/needs WebAssembly/.test(said), `without WebAssembly the page says: ${said}`);
  await page.close();
}

async function words(browser) {
  const use = await opened(browser, "words.html", "#seed=5&temperature=1");
  const { page } = use;
  await use.until("invent-status", "24 words");
  const items = (id) => page.$$eval(`#${id} li`, (all) => all.map((item) => item.textContent));
  check(JSON.stringify(await items("invented")) === JSON.stringify(want.invented), "the words of a seed are not the program's");
  await use.until("map-status", "two directions|words");
  await page.waitForSelector("#map circle");
  await page.$eval("#map", (map) => map.scrollIntoView());
  const box = await (await page.$("#map")).boundingBox();
  await page.mouse.move(box.x + 60, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2, { steps: 8 });
  await page.mouse.up();
  await use.until("here", ".");
  await page.$eval("#map", (map) => map.focus());
  await page.keyboard.press("ArrowLeft");
  await use.set("from", "anna");
  await use.set("to", "stella");
  await page.waitForFunction((last) => document.getElementById("way-list").lastChild?.textContent === last, { polling: 100 }, want.way.at(-1));
  for (const [at, word] of want.way.entries()) {
    await use.set("way", String(at));
    const found = await use.text("way-word");
    check(found === word, `on the way, ${at}: ${found} instead of ${word}`);
  }
  await use.set("near", "anna");
  await use.click("near-go");
  await page.waitForSelector("#neighbours button");
  await page.$eval("#neighbours button", (button) => button.click());
  await page.waitForFunction(() => document.getElementById("near").value !== "anna", { polling: 100 });
  await use.set("judged", "anna");
  await use.click("judge");
  await use.until("verdict", "“anna” costs .* bits");
  await use.set("judged", "東");
  await use.click("judge");
  await use.until("verdict", "does not know");
  await use.set("first", "ma");
  await use.set("least", "4");
  await use.set("most", "7");
  await use.set("word-temperature", "0.5");
  await use.click("invent-more");
  await page.waitForFunction(() => {
    const all = Array.from(document.querySelectorAll("#invented li"), (item) => item.textContent);
    return all.length > 0 && all.every((word) => /^ma.{2,5}$/.test(word));
  }, { polling: 100 });
  await use.set("first", "anna");
  await use.set("most", "3");
  await use.set("least", "1");
  await use.click("invent");
  await use.until("invent-status", "No word of 3 letters starts with the 4 of “anna”");
  check((await items("invented")).length === 0, "no old words beside an error");
  await use.set("near", "東");
  await use.click("near-go");
  await use.until("near-status", "The model does not know “東”");
  check((await items("neighbours")).length === 0, "no old neighbours beside an error");
  await use.set("first", "ma");
  await use.set("most", "64");
  await use.set("least", "60");
  await use.click("invent");
  await use.until("invent-status", "Inventing: ");
  await use.click("invent-stop");
  await use.until("invent-status", "Stopped");
  await use.click("word-copy");
  await use.until("invent-status", "Copied");
  await use.click("word-link");
  await use.close();
}

async function hostile(browser) {
  const use = await opened(browser, "hostile.html");
  const { page } = use;
  await page.waitForSelector("#map circle");
  check((await page.$$("img")).length === 0, "an image came out of a name");
  check((await page.$$("script")).length === 5, "a script came out of a word");
  const shown = await page.evaluate(() => document.body.innerText + document.title);
  check(!/[\u0000\u202e]/.test(shown), "a control character is shown as it is");
  check((await use.text("about")).includes("<img src=x onerror=alert(1)>"), "the corpus is named as it is");
  await use.set("near", "<img src=x onerror=alert(1)>");
  await use.click("near-go");
  await page.waitForSelector("#neighbours button");
  await use.set("judged", "</script><script>alert(1)</script>");
  await use.click("judge");
  await use.until("verdict", "costs");
  await use.close();
}

(async () => {
  const browser = await puppeteer.launch({
    browser: kind,
    executablePath,
    headless: true,
    args: kind === "chrome" ? ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"] : [],
    extraPrefsFirefox: QUIET,
  });
  try {
    console.log(`${await browser.version()}: ${await texts(browser)}`);
    await words(browser);
    await hostile(browser);
    await without(browser);
  } finally {
    await browser.close();
  }
  for (const what of wrong) console.log(what);
  process.exit(wrong.length > 0 ? 1 : 0);
})().catch((error) => {
  for (const what of wrong) console.log(what);
  console.log(error.stack);
  process.exit(1);
});
