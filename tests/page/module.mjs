// Holds modules against what the library computed: node module.mjs CASES.json. Prints one line per difference.
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";

const file = resolve(process.argv[2]);
const cases = JSON.parse(readFileSync(file, "utf8"));
let differ = 0;
const same = (name, found, want) => {
  if (JSON.stringify(found) === JSON.stringify(want)) return;
  differ += 1;
  let at = 0;
  while (found[at] === want[at]) at += 1;
  const part = (of) => JSON.stringify(of.slice(at, at + 8));
  console.log(`${name}: at ${at} ${part(found)} instead of ${part(want)}`);
};

for (const one of cases) {
  const module = await import(resolve(dirname(file), one.module));
  await module.load();
  if (one.words) {
    same(`${one.module} words`, module.generate({ seed: one.seed, count: one.words.length, temperature: one.temperature }), one.words);
    continue;
  }
  const state = module.state(one.text[0]);
  let worst = 0;
  for (const [index, char] of Array.from(one.text).slice(1).entries()) {
    const { p } = module.next(state, 1e6).find(({ text }) => text === char) ?? { p: 0 };
    worst = Math.max(worst, Math.abs(Math.log(p) - one.logProbs[index]));
    module.step(state, char);
  }
  if (!(worst < 1e-4)) {
    differ += 1;
    console.log(`${one.module}: log-probabilities differ by ${worst}`);
  }
  const options = { prompt: one.text, length: one.length };
  same(`${one.module} greedy`, module.generate({ ...options, temperature: 0 }), one.greedy);
  same(`${one.module} sampled`, module.generate({ ...options, seed: one.seed, temperature: 0.9, topP: 0.95 }), one.sampled);
}
console.log(differ === 0 ? `${cases.length} modules agree` : `${differ} differences`);
process.exit(differ === 0 ? 0 : 1);
